"""Plots and animations, on Matplotlib.

Each of these makes figures of what has been recorded or run:

training                      histories, several runs side by side, sizes of batches
rates                         learning rates, their schedules, and a test that suggests one
models, regions               confusion, samples, weights, gradient flow; classes over the plane
landscape                     the loss around a trained network
sparse                        rare and frequent inputs, and what each optimizer learns of them
report                        one page about one run

These run first and draw then: numbers in one file, pictures of them in another.

surfaces, tracks              functions of two numbers; the way of an optimizer over one
racing -> races               several optimizers from one start
descending -> descents        one optimizer on a function of one number
animate -> training_stage     a training, frame by frame

These are below all of them:

film, film_page, moving       animations as GIF, WebP and a page that plays; what moves in them
squares                       arrays as red and blue squares
style, numbers                colours, markers and blank figures; the numbers behind a picture
"""
