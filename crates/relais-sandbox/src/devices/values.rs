//! The measurements of a device: values that change as real ones do, a little each time and within bounds.

use serde::Serialize;

/// The end of the track.
const POSITION_MAX: i64 = 100;

/// The values at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Values {
    pub(super) position: i64,
    pub(super) status: &'static str,
    /// Degrees Celsius.
    temperature: f64,
    /// Volts.
    voltage: f64,
    /// Amperes.
    current: f64,
}

impl Values {
    pub(super) fn new(chance: &mut fastrand::Rng) -> Self {
        Self {
            position: chance.i64(0..=POSITION_MAX),
            status: "idle",
            temperature: rounded(18.0 + 8.0 * chance.f64()),
            voltage: rounded(11.8 + 0.8 * chance.f64()),
            current: 0.1,
        }
    }

    /// Advances the values.
    pub(super) fn move_on(&mut self, chance: &mut fastrand::Rng) {
        let runs = self.status == "running";
        if chance.u8(0..10) == 0 {
            self.status = if runs { "idle" } else { "running" };
        }
        if runs {
            self.position = (self.position + chance.i64(1..=5)) % (POSITION_MAX + 1);
        }
        let warmer = if runs { 0.55 } else { 0.45 };
        self.temperature = drift(self.temperature, warmer, 0.6, 10.0..=70.0, chance);
        self.voltage = drift(self.voltage, if runs { 0.4 } else { 0.6 }, 0.05, 11.0..=12.8, chance);
        self.current = rounded(if runs { 1.0 } else { 0.1 } + 0.2 * chance.f64());
    }

    /// Starts or stops the machine.
    pub(super) fn set_running(&mut self, runs: bool) {
        self.status = if runs { "running" } else { "idle" };
    }

    /// Moves it; a position beyond the end is the end.
    pub(super) fn move_to(&mut self, position: i64) {
        self.position = position.clamp(0, POSITION_MAX);
    }
}

/// A step of at most `step`, upwards with a probability of `upwards`.
fn drift(
    value: f64,
    upwards: f64,
    step: f64,
    bounds: std::ops::RangeInclusive<f64>,
    chance: &mut fastrand::Rng,
) -> f64 {
    let sign = if chance.f64() < upwards { 1.0 } else { -1.0 };
    rounded((value + sign * step * chance.f64()).clamp(*bounds.start(), *bounds.end()))
}

/// Rounds to the precision of such sensors.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_move_a_little_and_stay_within_bounds() {
        let mut chance = fastrand::Rng::with_seed(3);
        let mut values = Values::new(&mut chance);
        let mut moved = 0;
        for _ in 0..10_000 {
            let before = values;
            values.move_on(&mut chance);
            assert!((values.temperature - before.temperature).abs() <= 0.61, "{before:?} {values:?}");
            assert!((11.0..=12.8).contains(&values.voltage) && (0..=100).contains(&values.position));
            moved += usize::from(values.position != before.position);
        }
        assert!(moved > 1_000, "it runs now and then: {moved}");
    }
}
