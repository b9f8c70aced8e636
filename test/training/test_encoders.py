"""What the embedded model's encoders learn from, before any words."""

import torch

from lisa_ros.training.encoders import at_top_left, in_middle, shown_by_cells


def test_a_cell_shows_what_lies_at_its_middle():
    ids = torch.zeros(1, 8, 8, dtype=torch.uint8)
    ids[0, :4] = 1
    ids[0, 4:, 4:] = 2
    assert shown_by_cells(ids, 2).tolist() == [[1, 1, 0, 2]]


def test_a_small_thing_has_the_cell_that_shows_most_of_it():
    ids = torch.zeros(2, 16, 16, dtype=torch.uint8)
    ids[0, 0, 6:9] = 3  # two pixels in the first cell, one in the second, in the middle of none
    ids[1, 15, 15] = 4
    assert shown_by_cells(ids, 2).tolist() == [[3, 0, 0, 0], [0, 0, 0, 4]]


def test_cells_of_a_side_that_divides_no_square():
    ids = torch.zeros(1, 10, 10, dtype=torch.uint8)
    ids[0, 9, 9] = 1
    assert shown_by_cells(ids, 3).tolist() == [[0] * 8 + [1]]


def test_pictures_lie_where_the_encoders_have_them():
    ids = torch.ones(1, 2, 4, dtype=torch.uint8)
    assert in_middle(ids)[0].sum(1).tolist() == [0, 4, 4, 0]
    assert at_top_left(ids)[0].sum(1).tolist() == [4, 4, 0, 0]
