//! A page as a picture in shades of grey, which is what programs that read pictures of text want.

/// Rows from the top, pixels from the left, a byte each: 0 is black, 255 white.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Dots per inch, where it is known: of a page that was drawn, not of a photograph.
    pub dpi: Option<u32>,
    /// `width × height` bytes.
    pub pixels: Vec<u8>,
}

impl Raster {
    /// A binary PGM file (Netpbm "P5"): the plainest of image formats, which every program reads.
    pub fn to_pgm(&self) -> Vec<u8> {
        let mut file = format!("P5\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend_from_slice(&self.pixels);
        file
    }

    /// Halves width and height until there are at most `max` pixels. Reading text takes time by the pixel, and letters
    /// of more than some fifty pixels are not read better.
    pub(crate) fn shrunk_to(self, max: usize) -> Self {
        let mut raster = self;
        while raster.pixels.len() > max && raster.width > 1 && raster.height > 1 {
            raster = raster.halved();
        }
        raster
    }

    fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let row = self.width as usize;
        let mut pixels = Vec::with_capacity(width as usize * height as usize);
        for y in 0..height as usize {
            let upper = &self.pixels[2 * y * row..];
            let lower = &self.pixels[(2 * y + 1) * row..];
            pixels.extend((0..width as usize).map(|x| {
                let four = [upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]];
                // A mean of bytes is a byte.
                (four.iter().map(|&pixel| u32::from(pixel)).sum::<u32>() / 4) as u8
            }));
        }
        Self { width, height, dpi: self.dpi.map(|dpi| dpi / 2), pixels }
    }
}

/// How bright a colour looks (ITU-R BT.601).
pub(crate) fn grey(red: u8, green: u8, blue: u8) -> u8 {
    let weighted = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    // The weights add up to a thousand, so the mean is a byte.
    (weighted / 1_000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_takes_the_mean_of_four_and_drops_what_is_left_over() {
        let pixels = vec![0, 100, 9, 100, 200, 9, 9, 9, 9];
        let raster = Raster { width: 3, height: 3, dpi: Some(600), pixels };
        let small = raster.clone().shrunk_to(2);
        assert_eq!(small, Raster { width: 1, height: 1, dpi: Some(300), pixels: vec![100] });
        assert_eq!(raster.clone().shrunk_to(9), raster);
    }

    #[test]
    fn a_pgm_has_a_head_and_the_pixels() {
        let raster = Raster { width: 2, height: 1, dpi: None, pixels: vec![0, 255] };
        assert_eq!(raster.to_pgm(), b"P5\n2 1\n255\n\x00\xff");
    }

    #[test]
    fn white_is_white_and_black_is_black() {
        assert_eq!((grey(255, 255, 255), grey(0, 0, 0)), (255, 0));
    }
}
