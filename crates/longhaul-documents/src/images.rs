//! Images as documents: one page for an image, as many as there are for a TIFF. There is no text in them to read without
//! OCR, so a page is empty and says that it needs it; [`Images::raster`] shows it.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader};
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult};

use crate::error::{DocumentError, PageError};
use crate::format::Format;
use crate::limits::Limits;
use crate::page::Page;
use crate::raster::{Raster, grey};

/// Larger pictures are shrunk before they are read: A4 at 500 dpi.
const ENOUGH_PIXELS: usize = 24_000_000;
/// Bytes that a pixel takes at most while it is decoded: four samples of two bytes, and once more while it is turned grey.
const BYTES_OF_A_PIXEL: usize = 16;
/// Letters of a decoder's complaint that are passed on.
const MAX_DETAIL_CHARS: usize = 120;

/// An image file that has been looked at.
#[derive(Debug)]
pub(crate) struct Images {
    bytes: Vec<u8>,
    format: Format,
    count: usize,
}

impl Images {
    /// Reads the head of the file, of a TIFF the heads of all its images.
    pub(crate) fn open(bytes: Vec<u8>, format: Format, limits: &Limits) -> Result<Self, DocumentError> {
        let broken = |detail: String| DocumentError::Broken { format, detail };
        let count = match kind(format) {
            None => tiff_count(&bytes, limits).map_err(|error| broken(short(&error)))?,
            Some(kind) => {
                let reader = ImageReader::with_format(Cursor::new(&bytes), kind);
                reader.into_dimensions().map_err(|error| broken(short(&error)))?;
                1
            }
        };
        Ok(Self { bytes, format, count })
    }

    pub(crate) fn page_count(&self) -> usize {
        self.count
    }

    /// The text of a page: none.
    pub(crate) fn page(&self, index: usize) -> Page {
        Page { number: index + 1, needs_ocr: true, ..Page::default() }
    }

    /// A page as a picture, upright if the file says how it was held.
    pub(crate) fn raster(&self, index: usize, limits: &Limits) -> Result<Raster, PageError> {
        let raster = match kind(self.format) {
            None => self.tiff(index, limits)?,
            Some(kind) => self.single(kind, limits)?,
        };
        Ok(raster.shrunk_to(ENOUGH_PIXELS))
    }

    fn single(&self, kind: ImageFormat, limits: &Limits) -> Result<Raster, PageError> {
        let broken = |error: image::ImageError| PageError::Broken { page: 1, detail: short(&error) };
        let mut reader = ImageReader::with_format(Cursor::new(&self.bytes), kind);
        let mut bounds = image::Limits::default();
        bounds.max_alloc = Some((limits.max_pixels as u64).saturating_mul(BYTES_OF_A_PIXEL as u64));
        reader.limits(bounds);
        let mut decoder = reader.into_decoder().map_err(broken)?;
        let (width, height) = decoder.dimensions();
        within(1, width, height, limits)?;
        // A file that does not say how it was held was held upright.
        let orientation = decoder.orientation().ok();
        let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
        if let Some(orientation) = orientation {
            picture.apply_orientation(orientation);
        }
        let (width, height) = (picture.width(), picture.height());
        let pixels = if picture.color().has_alpha() {
            picture.to_luma_alpha8().pixels().map(|pixel| over_white(pixel.0[0], pixel.0[1])).collect()
        } else {
            picture.into_luma8().into_raw()
        };
        Ok(Raster { width, height, dpi: None, pixels })
    }

    fn tiff(&self, index: usize, limits: &Limits) -> Result<Raster, PageError> {
        let page = index + 1;
        let broken = |error: tiff::TiffError| PageError::Broken { page, detail: short(&error) };
        let mut bounds = tiff::decoder::Limits::default();
        bounds.decoding_buffer_size = limits.max_pixels.saturating_mul(BYTES_OF_A_PIXEL / 2);
        bounds.intermediate_buffer_size = bounds.decoding_buffer_size;
        let mut decoder = Decoder::new(Cursor::new(&self.bytes)).map_err(broken)?.with_limits(bounds);
        decoder.seek_to_image(index).map_err(broken)?;
        let (width, height) = decoder.dimensions().map_err(broken)?;
        within(page, width, height, limits)?;
        let colours = decoder.colortype().map_err(broken)?;
        let palette = match colours {
            ColorType::Palette(_) => decoder.get_tag_u16_vec(tiff::tags::Tag::ColorMap).map_err(broken)?,
            _ => Vec::new(),
        };
        let samples = match decoder.read_image().map_err(broken)? {
            DecodingResult::U8(samples) => samples,
            // The upper byte is all that a shade of grey needs.
            DecodingResult::U16(samples) => samples.into_iter().map(|sample| (sample >> 8) as u8).collect(),
            _ => {
                let detail = "its samples are neither of 8 nor of 16 bits".to_owned();
                return Err(PageError::Broken { page, detail });
            }
        };
        let size = (width as usize, height as usize);
        let pixels = greys(&samples, colours, size, &palette).filter(|pixels| pixels.len() == size.0 * size.1);
        let unknown = || PageError::Broken { page, detail: format!("colours of the kind {colours:?} are not read") };
        Ok(Raster { width, height, dpi: None, pixels: pixels.ok_or_else(unknown)? })
    }
}

/// How an image is decoded; none: as a TIFF, which may hold several.
fn kind(format: Format) -> Option<ImageFormat> {
    match format {
        Format::Png => Some(ImageFormat::Png),
        Format::Jpeg => Some(ImageFormat::Jpeg),
        Format::WebP => Some(ImageFormat::WebP),
        Format::Tiff | Format::Pdf | Format::Html | Format::Markdown | Format::Text | Format::Docx => None,
    }
}

/// How many images there are, counted no further than one above the limit.
fn tiff_count(bytes: &[u8], limits: &Limits) -> Result<usize, tiff::TiffError> {
    let mut decoder = Decoder::new(Cursor::new(bytes))?;
    let mut count = 1;
    while decoder.more_images() && count <= limits.max_pages {
        // A list that breaks off keeps what came before; one that bites its own tail is refused by the decoder.
        if decoder.next_image().is_err() {
            break;
        }
        count += 1;
    }
    Ok(count)
}

fn within(page: usize, width: u32, height: u32, limits: &Limits) -> Result<(), PageError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= limits.max_pixels as u64 {
        return Ok(());
    }
    Err(PageError::TooLarge { page, what: "pixels".into(), max: limits.max_pixels })
}

/// Shades of grey, if the colours are of a known kind.
fn greys(samples: &[u8], colours: ColorType, (width, height): (usize, usize), palette: &[u16]) -> Option<Vec<u8>> {
    let by =
        |size: usize, pixel: &dyn Fn(&[u8]) -> u8| Some(samples.chunks_exact(size).map(pixel).collect::<Vec<u8>>());
    match colours {
        ColorType::Gray(8 | 16) => Some(samples.to_vec()),
        ColorType::Gray(bits @ (1 | 2 | 4)) => Some(unpacked(samples, bits, width, height, |value| {
            let most = (1_u32 << bits) - 1;
            // A part of the most is a byte.
            (u32::from(value) * 255 / most) as u8
        })),
        ColorType::GrayA(8 | 16) => by(2, &|pixel| over_white(pixel[0], pixel[1])),
        ColorType::RGB(8 | 16) | ColorType::YCbCr(8) => by(3, &|pixel| grey(pixel[0], pixel[1], pixel[2])),
        ColorType::RGBA(8 | 16) => by(4, &|pixel| over_white(grey(pixel[0], pixel[1], pixel[2]), pixel[3])),
        ColorType::CMYK(8 | 16) => by(4, &|pixel| {
            let ink = |colour: u8| (u32::from(255 - colour) * u32::from(255 - pixel[3]) / 255) as u8;
            grey(ink(pixel[0]), ink(pixel[1]), ink(pixel[2]))
        }),
        ColorType::Palette(bits @ (1 | 2 | 4 | 8)) => {
            let count = 1_usize << bits;
            let colour = |value: u8| {
                let part = |band: usize| palette.get(band * count + usize::from(value)).map_or(255, |c| (c >> 8) as u8);
                grey(part(0), part(1), part(2))
            };
            Some(unpacked(samples, bits, width, height, colour))
        }
        _ => None,
    }
}

/// Values of fewer than eight bits, which are packed and begin each row with a new byte.
fn unpacked(samples: &[u8], bits: u8, width: usize, height: usize, shade: impl Fn(u8) -> u8) -> Vec<u8> {
    let row = (width * usize::from(bits)).div_ceil(8).max(1);
    let mask = u8::try_from((1_u16 << bits) - 1).unwrap_or(u8::MAX);
    let value = |row: &[u8], x: usize| {
        let bit = x * usize::from(bits);
        (row[bit / 8] >> (8 - usize::from(bits) - bit % 8)) & mask
    };
    let rows = samples.chunks_exact(row).take(height);
    rows.flat_map(|row| (0..width).map(|x| shade(value(row, x))).collect::<Vec<u8>>()).collect()
}

/// A shade that lets white paper through.
fn over_white(shade: u8, alpha: u8) -> u8 {
    let (shade, alpha) = (u32::from(shade), u32::from(alpha));
    // A mean of two bytes is a byte.
    ((shade * alpha + 255 * (255 - alpha)) / 255) as u8
}

fn short(error: &impl ToString) -> String {
    error.to_string().chars().take(MAX_DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_values_are_unpacked_row_by_row() {
        let shades = unpacked(&[0b1010_0000, 0b0100_0000], 1, 3, 2, |value| value * 255);
        assert_eq!(shades, [255, 0, 255, 0, 255, 0]);
        assert_eq!(unpacked(&[0x1f], 4, 2, 1, |value| value), [1, 15]);
    }

    #[test]
    fn what_is_not_there_is_paper() {
        assert_eq!((over_white(0, 0), over_white(0, 255), over_white(255, 10)), (255, 0, 255));
    }

    #[test]
    fn a_palette_is_looked_up() {
        let palette = [0xffff, 0, 0xffff, 0, 0xffff, 0];
        assert_eq!(greys(&[0b0100_0000], ColorType::Palette(1), (2, 1), &palette), Some(vec![255, 0]));
    }
}
