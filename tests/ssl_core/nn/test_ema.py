import pytest
import torch
from torch import nn

from ssl_core.nn.ema import follow_, frozen_copy


def test_a_frozen_copy_is_equal_apart_and_untrained() -> None:
    student = nn.Linear(3, 3)
    teacher = frozen_copy(student)
    assert not any(p.requires_grad for p in teacher.parameters()) and all(p.requires_grad for p in student.parameters())
    with torch.no_grad():
        student.weight.add_(1)
    torch.testing.assert_close(teacher.weight + 1, student.weight)


def test_follow_is_an_exponential_moving_average() -> None:
    student, teacher = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.9 * teacher.weight.detach() + 0.1 * student.weight.detach()
    student_before = student.weight.detach().clone()
    follow_(teacher, student, momentum=0.9)
    torch.testing.assert_close(teacher.weight.detach(), expected)
    assert torch.equal(student.weight, student_before)


def test_buffers_stay_the_teachers_own() -> None:
    student = nn.BatchNorm1d(2)
    teacher = frozen_copy(student)
    student.running_mean.fill_(5)  # type: ignore[union-attr]
    follow_(teacher, student, momentum=0.5)
    assert teacher.running_mean.tolist() == [0, 0]  # type: ignore[union-attr]


def test_networks_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in parameters"):
        follow_(nn.Linear(2, 2, bias=False), nn.Linear(2, 2), 0.9)
