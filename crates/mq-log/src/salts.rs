//! Where the salts of new segments come from: one seed per start, one stream per shard.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A shard's source of salts.
#[derive(Debug)]
pub(crate) struct Salts(ChaCha20Rng);

impl Salts {
    pub(crate) fn new(seed: [u8; 32], stream: u64) -> Salts {
        let mut random = ChaCha20Rng::from_seed(seed);
        random.set_stream(stream);
        Salts(random)
    }

    pub(crate) fn draw(&mut self) -> [u8; 16] {
        let mut salt = [0; 16];
        self.0.fill_bytes(&mut salt);
        salt
    }
}
