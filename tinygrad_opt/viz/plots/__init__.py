"""Plots and animations, on Matplotlib.

training, models, regions     curves, confusion, samples, weights, gradient flow, decision regions
surfaces, racing              functions of two numbers, and optimizers that descend them
races, descents               pictures of that; landscape: the loss around a trained network
animate, film, film_page      the training animation; films as GIF, WebP and a page that plays
report                        one page about one run
style, numbers, moving        colours and markers; the numbers behind a picture; shared by films
"""
