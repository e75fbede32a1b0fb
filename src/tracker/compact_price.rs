//! A job's own price in three bytes, or that it has none.
//!
//! A tracked job holds it beside counters that leave three bytes unused. A fixed price outside of the range of
//! [`PollPrice`], which only a test can have made, becomes the nearest that three bytes can hold.

use std::time::Duration;

use crate::job::PollPrice;

/// Zero: none. The greatest number: [`PollPrice::Auto`]. Any other: milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompactPrice([u8; 3]);

const AUTO: u32 = 0x00ff_ffff;

impl CompactPrice {
    pub(super) fn get(self) -> Option<PollPrice> {
        let [low, middle, high] = self.0;
        match u32::from_le_bytes([low, middle, high, 0]) {
            0 => None,
            AUTO => Some(PollPrice::Auto),
            ms => Some(PollPrice::Fixed(Duration::from_millis(ms.into()))),
        }
    }
}

impl From<Option<PollPrice>> for CompactPrice {
    fn from(price: Option<PollPrice>) -> Self {
        let number = match price {
            None => 0,
            Some(PollPrice::Auto) => AUTO,
            Some(PollPrice::Fixed(price)) => {
                u32::try_from(price.as_millis()).unwrap_or(u32::MAX).clamp(1, AUTO - 1)
            }
        };
        let [low, middle, high, _] = number.to_le_bytes();
        Self([low, middle, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_price_is_read_back() {
        let fixed = |ms| Some(PollPrice::Fixed(Duration::from_millis(ms)));
        let range = PollPrice::RANGE;
        let ends = [range.start(), range.end()].map(|price| Some(PollPrice::Fixed(*price)));
        for price in [None, Some(PollPrice::Auto), fixed(255), fixed(256), fixed(65_536)]
            .into_iter()
            .chain(ends)
        {
            assert_eq!(CompactPrice::from(price).get(), price);
        }
        for (other, nearest) in
            [(0, 1), (u64::from(AUTO), u64::from(AUTO) - 1), (1 << 40, u64::from(AUTO) - 1)]
        {
            assert_eq!(CompactPrice::from(fixed(other)).get(), fixed(nearest));
        }
    }
}
