"""The colours that masks are drawn in, everywhere."""

# RGB; distinct for most colour-blind readers (Okabe and Ito 2008).
ORANGE, BLUE, GREEN, PINK, YELLOW = COLOURS = (
    (230, 80, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
)
