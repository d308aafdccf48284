//! Numbers that look random and are a function of the seed, a name and an id: the same school on every machine.

/// A school's dice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    /// The dice of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The number that `name` has for `id`.
    pub(crate) fn number(self, name: &str, id: u64) -> u64 {
        let named = name
            .bytes()
            .fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        mix(named ^ mix(id))
    }

    /// One of 0 to `sides` - 1.
    pub(crate) fn below(self, name: &str, id: u64, sides: u64) -> u64 {
        self.number(name, id) % sides.max(1)
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(self, name: &str, id: u64, percent: u64) -> bool {
        self.below(name, id, 100) < percent
    }

    /// One of `choices`.
    pub(crate) fn pick<'a>(self, name: &str, id: u64, choices: &[&'a str]) -> &'a str {
        let index = self.below(name, id, choices.len() as u64);
        usize::try_from(index).ok().and_then(|index| choices.get(index)).copied().unwrap_or_default()
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
