//! What tokens cost.

use longhaul_providers::chat::Usage;

/// US dollars per million tokens, which is the same as millionths of a dollar per token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Price {
    /// Of the request.
    pub input_per_mtok: f64,
    /// Of the answer.
    pub output_per_mtok: f64,
    /// Of the request, read from the provider's own cache; as the rest of the request if unset.
    pub cached_input_per_mtok: Option<f64>,
    /// Of the request, written to the provider's own cache; as the rest of the request if unset.
    pub cache_write_per_mtok: Option<f64>,
}

impl Price {
    /// What this use cost, in millionths of a US dollar, rounded up: a call that cost something never cost nothing.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "money \
        of one call is far below 2⁵³ millionths, and `as` saturates"
    )]
    pub fn cost_microusd(&self, usage: Usage) -> u64 {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
        let fresh = usage.input_tokens - cached - written;
        let cost = fresh as f64 * self.input_per_mtok
            + cached as f64 * self.cached_input_per_mtok.unwrap_or(self.input_per_mtok)
            + written as f64 * self.cache_write_per_mtok.unwrap_or(self.input_per_mtok)
            + usage.output_tokens as f64 * self.output_per_mtok;
        // A hair below the next whole number is the arithmetic's, not the provider's.
        (cost - 1e-6).ceil().max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_times_price_is_the_cost() {
        let price = Price {
            input_per_mtok: 2.5,
            output_per_mtok: 10.0,
            cached_input_per_mtok: Some(1.25),
            cache_write_per_mtok: Some(3.0),
        };
        let usage = Usage { input_tokens: 1_000, output_tokens: 100, cached_input_tokens: 400, ..Usage::default() };
        assert_eq!(price.cost_microusd(usage), 1_500 + 500 + 1_000);
        assert_eq!(Price { cached_input_per_mtok: None, ..price }.cost_microusd(usage), 2_500 + 1_000);
        let writing = Usage { cache_write_tokens: 200, ..usage };
        assert_eq!(price.cost_microusd(writing), 1_000 + 500 + 600 + 1_000);
        assert_eq!(Price { cache_write_per_mtok: None, ..price }.cost_microusd(writing), 1_500 + 500 + 1_000);
        let absurd = Usage { cached_input_tokens: 900, cache_write_tokens: 900, ..usage };
        assert_eq!(price.cost_microusd(absurd), 1_125 + 300 + 1_000, "parts are no more than the whole");
        assert_eq!(price.cost_microusd(Usage { input_tokens: 1, ..Usage::default() }), 3, "rounded up");
        assert_eq!(price.cost_microusd(Usage::default()), 0);
    }
}
