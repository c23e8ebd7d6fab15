//! Logistic regression over hashed words: the model itself, which knows nothing of repositories.
//!
//! Nothing here is random and every sum has one order, so that equal data give equal bits.

/// A text and whether it is kind.
pub(crate) struct Example {
    features: Vec<usize>,
    kind: bool,
}

/// Reads lines of `id TAB rating TAB text`; ratings above zero are kind.
pub(crate) fn examples(table: &str, bits: u32) -> Result<Vec<Example>, String> {
    let mut out = Vec::new();
    for (n, line) in table.lines().enumerate() {
        let mut cells = line.splitn(3, '\t').skip(1);
        let (Some(rating), Some(text)) = (cells.next(), cells.next()) else {
            return Err(format!("line {}: expected id, rating and text", n + 1));
        };
        let rating: f64 = rating
            .parse()
            .map_err(|_| format!("line {}: `{rating}` is no rating", n + 1))?;
        out.push(Example {
            features: features(text, bits),
            kind: rating > 0.0,
        });
    }
    Ok(out)
}

/// Words of a text as places of a table of `2^bits` weights, each at most once.
fn features(text: &str, bits: u32) -> Vec<usize> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let mut out: Vec<usize> = words
        .filter(|w| !w.is_empty())
        .map(|w| place(&w.to_lowercase(), bits))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// FNV-1a, folded to `bits`.
fn place(word: &str, bits: u32) -> usize {
    let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from((hash ^ (hash >> 32)) & ((1 << bits) - 1)).unwrap_or(0)
}

/// Weights of the words, and the bias behind them.
pub(crate) struct Model(pub(crate) Vec<f32>);

impl Model {
    pub(crate) fn new(bits: u32) -> Self {
        Self(vec![0.0; (1 << bits) + 1])
    }

    fn score(&self, example: &Example) -> f32 {
        let bias = self.0[self.0.len() - 1];
        let sum = example.features.iter().fold(bias, |s, &f| s + self.0[f]);
        1.0 / (1.0 + (-sum).exp())
    }

    /// One pass over the examples; gives the mean loss.
    pub(crate) fn learn(&mut self, examples: &[Example], rate: f32) -> f64 {
        let bias = self.0.len() - 1;
        let mut loss = 0.0;
        for example in examples {
            let score = self.score(example);
            let wrong = score - if example.kind { 1.0 } else { 0.0 };
            loss -= f64::from((1.0 - wrong.abs()).max(1e-7)).ln();
            for &f in example.features.iter().chain([&bias]) {
                self.0[f] -= rate * wrong;
            }
        }
        mean(loss, examples.len())
    }

    /// The share of examples that it gets right.
    pub(crate) fn accuracy(&self, examples: &[Example]) -> f64 {
        let right = examples.iter().filter(|e| (self.score(e) > 0.5) == e.kind);
        mean(
            f64::from(u32::try_from(right.count()).unwrap_or(u32::MAX)),
            examples.len(),
        )
    }

    /// As a safetensors file with one tensor.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let size = self.0.len() * 4;
        let mut header = format!(
            "{{\"weights\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,{size}]}}}}",
            self.0.len()
        );
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let mut out = u64::try_from(header.len())
            .unwrap_or(0)
            .to_le_bytes()
            .to_vec();
        out.extend(header.bytes());
        out.extend(self.0.iter().flat_map(|w| w.to_le_bytes()));
        out
    }
}

fn mean(sum: f64, count: usize) -> f64 {
    sum / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
}
