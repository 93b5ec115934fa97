"""Plots and animations, on Matplotlib.

learning_curves       histories, several runs side by side, sizes of batches
learning_rates        what a rate does to the loss, schedules, and a test that suggests a rate
models                confusion, samples, weights, gradient flow, attention
decision_regions      the classes that a model predicts over the plane
sweeps                many trainings with many options
loss_landscape        the loss around a trained network
training_animation    a training, frame by frame
training_report       one page about one run

surfaces              functions of two numbers
trajectories          the path of one optimizer over a function
races, descents       several optimizers over a surface; one on a function of one number
sparse_inputs         rare and frequent inputs, and what each optimizer learns of them

heatmaps              arrays as red and blue squares
"""
