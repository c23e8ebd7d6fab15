//! What is left between a number and its prediction: how many numbers of the format lie between
//! them. Small moves stay small across every border of exponents and signs. See `spec/predict.md`.

use super::Width;

macro_rules! word {
    ($word:ty, $bytes:literal, $take:ident, $put:ident) => {
        /// Writes what is left of `plain` over `guess`.
        fn $take(plain: &[u8], guess: &[u8], out: &mut [u8]) {
            const TOP: $word = 1 << ($bytes * 8 - 1);
            let order = |word: $word| word ^ ((word >> ($bytes * 8 - 1)) * !TOP | TOP);
            let plain = plain.as_chunks::<$bytes>().0;
            let guess = guess.as_chunks::<$bytes>().0;
            let out = out.as_chunks_mut::<$bytes>().0;
            for ((out, plain), guess) in out.iter_mut().zip(plain).zip(guess) {
                let (plain, guess) = (
                    <$word>::from_le_bytes(*plain),
                    <$word>::from_le_bytes(*guess),
                );
                let steps = order(plain).wrapping_sub(order(guess));
                *out = (steps ^ (steps >> ($bytes * 8 - 1)) * !TOP).to_le_bytes();
            }
        }

        /// The reverse: makes `left` the plain bytes again.
        fn $put(left: &mut [u8], guess: &[u8]) {
            const TOP: $word = 1 << ($bytes * 8 - 1);
            let order = |word: $word| word ^ ((word >> ($bytes * 8 - 1)) * !TOP | TOP);
            let guess = guess.as_chunks::<$bytes>().0;
            for (left, guess) in left.as_chunks_mut::<$bytes>().0.iter_mut().zip(guess) {
                let word = <$word>::from_le_bytes(*left);
                let steps = word ^ (word >> ($bytes * 8 - 1)) * !TOP;
                let place = order(<$word>::from_le_bytes(*guess)).wrapping_add(steps);
                // Places of negative numbers have their top bit clear.
                *left = (place ^ (((place >> ($bytes * 8 - 1)) ^ 1) * !TOP | TOP)).to_le_bytes();
            }
        }
    };
}
word!(u8, 1, take1, put1);
word!(u16, 2, take2, put2);
word!(u32, 4, take4, put4);
word!(u64, 8, take8, put8);

/// What is left of `plain` over `guess` in words of `width`; all three are as long, in whole words.
pub(super) fn take(width: Width, plain: &[u8], guess: &[u8], out: &mut [u8]) {
    match width {
        Width::One => take1(plain, guess, out),
        Width::Two => take2(plain, guess, out),
        Width::Four => take4(plain, guess, out),
        Width::Eight => take8(plain, guess, out),
    }
}

/// Puts what is left on the prediction: `left` becomes the plain bytes.
pub(super) fn put(width: Width, left: &mut [u8], guess: &[u8]) {
    match width {
        Width::One => put1(left, guess),
        Width::Two => put2(left, guess),
        Width::Four => put4(left, guess),
        Width::Eight => put8(left, guess),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(plain: f32, guess: f32) -> u32 {
        let mut out = [0; 4];
        take(
            Width::Four,
            &plain.to_le_bytes(),
            &guess.to_le_bytes(),
            &mut out,
        );
        u32::from_le_bytes(out)
    }

    #[test]
    fn steps_are_counted_across_borders() {
        assert_eq!(left(1.0, 1.0), 0);
        assert_eq!(left(1.0, 1.0 - f32::EPSILON / 2.0), 1);
        assert_eq!(left(-1.0, -1.0 - f32::EPSILON), 1);
        assert_eq!(left(0.0, -0.0), 1);
        // One down: the sign, and one less than the size.
        assert_eq!(left(-0.0, 0.0), 0x8000_0000);
        assert_eq!(left(f32::from_bits(1), -f32::from_bits(1)), 3);
        assert_eq!(left(1.0, 1.0 + 2.0 * f32::EPSILON), 0x8000_0001);
    }

    proptest! {
        #[test]
        fn any_words_come_back(
            plain in proptest::collection::vec(any::<u8>(), 64),
            guess in proptest::collection::vec(any::<u8>(), 64),
        ) {
            for width in Width::ALL {
                let mut left = vec![0; 64];
                take(width, &plain, &guess, &mut left);
                put(width, &mut left, &guess);
                prop_assert_eq!(&left, &plain);
            }
        }
    }
}
