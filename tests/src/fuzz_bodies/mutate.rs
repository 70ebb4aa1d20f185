//! Mutations of valid inputs, the same ones for the same seed.

use crate::random::Random;

/// A source of changed inputs.
#[derive(Clone, Debug)]
pub struct Mutator(Random);

/// Values at which lengths and counters turn over.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Longest input made, in bytes: a little over the longest that any parser takes.
const MAX_INPUT: usize = 150_000;

impl Mutator {
    /// The same seed gives the same inputs.
    pub fn new(seed: u64) -> Mutator {
        Mutator(Random::new(seed))
    }

    /// One of `seeds` after one to eight changes, or now and then nothing but random bytes.
    pub fn next_input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if seeds.is_empty() || self.below(16) == 0 {
            let length = self.below(600);
            return self.bytes(length);
        }
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, seeds);
        }
        input.truncate(MAX_INPUT);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(9) {
            0 | 1 => self.flip_bit(input, at),
            2 => self.overwrite_with_edge(input, at),
            3 => input.truncate(at),
            4 => drop(input.drain(at..self.end_of_range(input, at))),
            5 => self.repeat_range(input, at),
            6 => self.insert_random(input, at),
            7 => self.splice(input, at, seeds),
            _ => self.overwrite_byte(input, at),
        }
    }

    fn flip_bit(&mut self, input: &mut [u8], at: usize) {
        let bit = self.below(8);
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    fn overwrite_byte(&mut self, input: &mut [u8], at: usize) {
        let value = self.bytes(1);
        if let Some(byte) = input.get_mut(at) {
            *byte = value[0];
        }
    }

    fn overwrite_with_edge(&mut self, input: &mut [u8], at: usize) {
        let edge = EDGES[self.below(EDGES.len())];
        let width = 1 << self.below(4);
        let bytes = if self.below(2) == 0 {
            edge.to_le_bytes()
        } else {
            edge.rotate_right(8 * width).to_be_bytes()
        };
        for (byte, new) in input.iter_mut().skip(at).zip(bytes).take(width as usize) {
            *byte = new;
        }
    }

    fn repeat_range(&mut self, input: &mut Vec<u8>, at: usize) {
        let range = input[at..self.end_of_range(input, at)].to_vec();
        for _ in 0..self.below(4) {
            input.splice(at..at, range.iter().copied());
        }
    }

    fn insert_random(&mut self, input: &mut Vec<u8>, at: usize) {
        let length = self.below(16);
        let bytes = self.bytes(length);
        input.splice(at..at, bytes);
    }

    fn splice(&mut self, input: &mut Vec<u8>, at: usize, seeds: &[Vec<u8>]) {
        let other = &seeds[self.below(seeds.len())];
        input.truncate(at);
        input.extend_from_slice(&other[self.below(other.len() + 1)..]);
    }

    fn end_of_range(&mut self, input: &[u8], start: usize) -> usize {
        start + self.below((input.len() - start).min(64) + 1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.0.any().to_le_bytes()[0]).collect()
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }
}
