import pytest

from eval import timing
from eval.timing import Config

torch = pytest.importorskip("torch")


class Clock:
    """Time passes only when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Method:
    """Costs known seconds: 1 to make, 5 to start adapting, `step` for each of 4 steps a source frame, 0.25 a frame."""

    def __init__(self, clock, step=2.0):
        self.clock, self.step = clock, step
        clock.now += 1

    def parameters(self):
        return 7

    def adapt(self, x, y, seed=0, report=None):
        self.clock.now += 5
        for done in range(4 * len(x) if self.step else 0):
            self.clock.now += self.step
            report(done + 1, 4 * len(x))

        def head(pose):
            assert len(pose) == 1
            self.clock.now += 0.25
            return pose

        return head


def measure(config, step=2.0, shots=(1, 8)):
    clock, images = Clock(), torch.zeros(8, 3, 4, 4)
    return timing.measure(lambda: Method(clock, step), (images, images, images), shots, config, clock)


def test_set_up_learning_step_and_frame_are_timed_apart():
    found = measure(Config(repeats=3, seconds=1000.0, threads=1))
    assert found["set_up"] == {"median": 1, "n": 3}
    assert found["few_shot"] == {"1": {"median": 13, "n": 3, "steps": 4},
                                 "8": {"median": 69, "n": 3, "steps": 32}}
    assert found["step"]["8"] == {"median": 2, "n": 3 * 31} and found["frame"] == {"median": 0.25, "n": 3}


def test_no_repeat_starts_after_the_budget_and_one_is_always_measured():
    found = measure(Config(repeats=1000, seconds=2.0, threads=1))
    assert found["frame"]["n"] == 8 and found["set_up"]["n"] == 2
    assert measure(Config(repeats=1000, seconds=0.0, threads=1))["frame"]["n"] == 1


def test_a_method_without_steps_has_no_time_of_a_step():
    found = measure(Config(repeats=2, seconds=100.0, threads=1), step=0)
    assert found["step"] == {} and found["few_shot"]["1"] == {"median": 5, "n": 2}


def test_the_warm_up_does_not_count():
    clock = Clock()
    costs = iter([100.0, 1.0, 2.0, 3.0])

    def act():
        clock.now += next(costs)

    assert timing.repeat(act, Config(repeats=3, seconds=1000.0, threads=1), clock).seconds == [1, 2, 3]


def test_the_device_is_waited_for_within_the_measured_time():
    clock = Clock()

    def wait():
        clock.now += 7

    assert timing.repeat(lambda: None, Config(repeats=1, seconds=1.0, threads=1), clock, wait).seconds == [7]


def test_the_arithmetic_of_a_frame_is_counted_in_multiply_accumulates():
    net, x = torch.nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 16, 16)
    assert timing.macs(lambda: net(x)) == 8 * 3 * 9 * 16 * 16
    assert timing.macs(lambda: x.mean()) == 0
    assert measure(Config(repeats=1, seconds=0.0, threads=1))["parameters"] == 7
