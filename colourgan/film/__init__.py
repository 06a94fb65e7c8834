"""Films in color: `colourgan colorize film.mp4`. Takes the extra "film": PyAV and OpenCV.

packages   the two, imported when they are first used
names      endings of films, the file that one becomes, times
reading    frames: upright, grey, with their times
smoothing  colors averaged over time along motion, within a scene
ahead      steps in threads, with bounded memory
encoding   frames → packets of H.264 or VP9, in segments from which a killed run goes on
joining    segments and the source's sound, subtitles and chapters → one file
coloring   all of that
"""

from colourgan.film.coloring import colorize_film
from colourgan.film.names import SUFFIXES, film_target, seconds

__all__ = ["SUFFIXES", "colorize_film", "film_target", "seconds"]
