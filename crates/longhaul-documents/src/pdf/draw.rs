//! A page of a PDF as a picture, for OCR: drawn by `hayro`, which knows every filter that scanners use, undoes rotation
//! and puts a page together of as many pictures as it has.

use std::sync::Arc;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::Pdf;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings, render};

use crate::error::PageError;
use crate::limits::Limits;
use crate::raster::{Raster, grey};

/// Points of an inch.
const POINTS: f32 = 72.0;
/// Drawing takes four bytes a pixel and more beside; larger pages are drawn more coarsely.
const MAX_DRAWN_PIXELS: usize = 40_000_000;
/// The drawing library counts pixels of a side in sixteen bits.
const MAX_SIDE: f32 = 65_000.0;

/// A document that can be drawn.
pub(super) struct Drawing(Pdf);

impl Drawing {
    /// Reads the structure once more, in the way of the drawing library.
    pub(super) fn open(bytes: Arc<Vec<u8>>) -> Option<Self> {
        Pdf::new(bytes).ok().map(Self)
    }

    pub(super) fn page_count(&self) -> usize {
        self.0.pages().len()
    }

    /// Draws a page on white paper.
    pub(super) fn page(&self, index: usize, dpi: u32, limits: &Limits) -> Result<Raster, PageError> {
        let broken = |detail: &str| PageError::Broken { page: index + 1, detail: detail.to_owned() };
        let pages = self.0.pages();
        let page = pages.get(index).ok_or_else(|| broken("it cannot be drawn"))?;
        let (width, height) = page.render_dimensions();
        if !(width.is_finite() && height.is_finite() && width >= 1.0 && height >= 1.0) {
            return Err(broken("it has no size"));
        }
        let scale = scale(width, height, dpi, limits.max_pixels.min(MAX_DRAWN_PIXELS));
        let settings = PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE };
        let cache = RenderCache::new();
        let pixmap = render(page, &cache, &InterpreterSettings::default(), &RenderSettings::default(), &settings);
        let pixels = pixmap.data().iter().map(|pixel| grey(pixel.r, pixel.g, pixel.b)).collect();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most what was asked for")]
        let dpi = Some((scale * POINTS).round() as u32);
        Ok(Raster { width: u32::from(pixmap.width()), height: u32::from(pixmap.height()), dpi, pixels })
    }
}

/// Pixels of a point: as asked, or as many as are allowed.
#[allow(clippy::cast_precision_loss, reason = "sizes of pages need no more than seven digits")]
fn scale(width: f32, height: f32, dpi: u32, max_pixels: usize) -> f32 {
    let asked = dpi as f32 / POINTS;
    let allowed = (max_pixels as f32 / (width * height)).sqrt();
    asked.min(allowed).min(MAX_SIDE / width.max(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_are_drawn_more_coarsely() {
        assert!((scale(595.0, 842.0, 300, MAX_DRAWN_PIXELS) - 300.0 / 72.0).abs() < 1e-6);
        let poster = scale(14_400.0, 14_400.0, 300, MAX_DRAWN_PIXELS);
        assert!(poster * poster * 14_400.0 * 14_400.0 <= 40_000_100.0, "{poster}");
        assert!(scale(1.0, 1_000_000.0, 300, MAX_DRAWN_PIXELS) * 1_000_000.0 <= MAX_SIDE + 1.0);
    }
}
