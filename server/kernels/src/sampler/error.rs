//! What a caller of the sampler got wrong.

/// What a caller got wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// A parameter is not finite or out of range.
    #[error("{name} is {value}, expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it is.
        value: f32,
        /// What it may be.
        expected: &'static str,
    },
    /// A slot beyond the number of slots.
    #[error("slot {slot} is not below {num_slots}")]
    SlotRange {
        /// The slot.
        slot: usize,
        /// How many there are.
        num_slots: usize,
    },
    /// A slot that was not opened.
    #[error("slot {0} is not open")]
    SlotClosed(usize),
    /// A slot in two rows.
    #[error("slot {0} is in two rows of one call")]
    SlotTwice(usize),
    /// A token id beyond the vocabulary.
    #[error("token id {token} is not below the vocabulary of {vocab_size}")]
    Token {
        /// The id.
        token: u32,
        /// The vocabulary's size.
        vocab_size: usize,
    },
    /// Logits of another size than rows times vocabulary.
    #[error("{logits} logits for {rows} rows of {vocab_size}")]
    Shape {
        /// Logits given.
        logits: usize,
        /// Rows given.
        rows: usize,
        /// The vocabulary's size.
        vocab_size: usize,
    },
    /// A mask of another size than the vocabulary.
    #[error("the mask of slot {slot} has {words} words, expected {expected}")]
    Mask {
        /// The slot.
        slot: usize,
        /// 32-bit words given.
        words: usize,
        /// Words that have a bit for every token.
        expected: usize,
    },
    /// Another number of positions than of slots.
    #[error("{slots} slots, but {positions} positions")]
    Positions {
        /// Slots given.
        slots: usize,
        /// Positions given.
        positions: usize,
    },
    /// A slot below 0.
    #[error("slot {0} is negative")]
    NegativeSlot(i32),
    /// Masks of another size than their number says.
    #[error("masks have {words} words, expected {masks} masks of {mask_words}")]
    Masks {
        /// 32-bit words given.
        words: usize,
        /// Rows that have a mask.
        masks: usize,
        /// Words that have a bit for every token.
        mask_words: usize,
    },
    /// A mask for a row that is not there.
    #[error("mask_rows has {index}, expected 0 to {rows} - 1")]
    MaskRow {
        /// The row named.
        index: i32,
        /// Rows there are.
        rows: usize,
    },
    /// Two masks for one row.
    #[error("row {0} has two masks")]
    TwoMasks(i32),
    /// A row that leaves no token to draw.
    #[error("the row of slot {0} has no finite logit of an allowed token")]
    NoFiniteLogit(usize),
}
