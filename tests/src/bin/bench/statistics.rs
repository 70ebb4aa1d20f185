//! Few numbers that stand for many.

/// Values in order. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    /// `None` if there is no value.
    pub(crate) fn new(mut values: Vec<f64>) -> Option<Sorted> {
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Sorted(values))
    }

    /// The middle value, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let (values, middle) = (&self.0, self.0.len() / 2);
        match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        }
    }

    /// The smallest value that `share` (0 to 1) of all do not exceed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    pub(crate) fn least(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(values: &[f64]) -> Sorted {
        Sorted::new(values.to_vec()).expect("values")
    }

    #[test]
    fn nothing_has_no_median() {
        assert!(Sorted::new(Vec::new()).is_none());
    }

    #[test]
    fn median_of_an_even_count_lies_between() {
        assert_eq!(sorted(&[4.0, 1.0, 3.0, 2.0]).median(), 2.5);
        assert_eq!(sorted(&[9.0, 1.0, 3.0]).median(), 3.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let hundred = sorted(&hundred);
        assert_eq!(hundred.percentile(0.99), 99.0);
        assert_eq!(hundred.percentile(0.0), hundred.least());
        assert_eq!(hundred.percentile(1.0), hundred.most());
        assert_eq!(sorted(&[7.0]).percentile(0.5), 7.0);
    }
}
