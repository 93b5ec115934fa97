"""Animations: a figure whose parts move, as GIF, WebP, and a page that plays.

moving      the parts that move, as Matplotlib artists
film        all frames of a figure, shown and saved
player      the page that plays it, made of `player.html`
"""
