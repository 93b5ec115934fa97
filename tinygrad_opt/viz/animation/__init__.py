"""Animations: a figure whose parts move, as GIF, WebP, and a page that plays.

moving      the parts that move, as Matplotlib artists
film        all frames of a figure, shown and saved
canvas      what Matplotlib draws in each frame, as data for the page's player, `player.js`
"""
