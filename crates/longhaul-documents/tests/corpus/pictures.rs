//! Images as documents, and pages of PDFs that are pictures.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgba, RgbaImage};
use longhaul_documents::{DocumentError, Format, Limits, PageError, Pages, Raster};
use lopdf::{Dictionary, Document, Object, Stream, dictionary};
use tiff::encoder::{TiffEncoder, colortype};

use crate::open;

/// Black above, white below.
fn halves() -> GrayImage {
    GrayImage::from_fn(40, 60, |_, y| Luma([if y < 30 { 0 } else { 255 }]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// How dark a part of a picture is, from 0 (white) to 100.
fn dark(picture: &Raster, part: impl Fn(u32, u32) -> bool) -> u32 {
    let at = |index: usize| (index as u32 % picture.width, index as u32 / picture.width);
    let pixels = picture.pixels.iter().enumerate().filter(|(index, _)| {
        let (x, y) = at(*index);
        part(x, y)
    });
    let (sum, count) = pixels.fold((0, 0), |(sum, count), (_, &pixel)| (sum + u32::from(255 - pixel), count + 1));
    sum * 100 / 255 / count.max(1)
}

fn is_halves(picture: &Raster) -> bool {
    let middle = picture.height / 2;
    dark(picture, |_, y| y + 2 < middle) > 97 && dark(picture, |_, y| y > middle + 2) < 3
}

#[test]
fn images_of_every_kind_are_one_page_that_needs_ocr() {
    let kinds = [
        (ImageFormat::Png, Format::Png),
        (ImageFormat::Jpeg, Format::Jpeg),
        (ImageFormat::WebP, Format::WebP),
        (ImageFormat::Tiff, Format::Tiff),
    ];
    for (kind, format) in kinds {
        let picture = DynamicImage::from(halves());
        // The encoder of WebP knows colours only.
        let picture = if kind == ImageFormat::WebP { picture.into_rgb8().into() } else { picture };
        let bytes = encoded(picture, kind);
        let pages = open(&bytes);
        assert_eq!((pages.format(), pages.page_count()), (format, 1));
        let page = pages.page(1).unwrap();
        assert!(page.needs_ocr && page.text.is_empty(), "{format}");
        let shown = pages.raster(1, 300).unwrap();
        assert_eq!((shown.width, shown.height, shown.dpi), (40, 60, None), "{format}");
        assert!(is_halves(&shown), "{format}");
        let cut = Pages::open(bytes[..bytes.len() / 2].to_vec(), format, &Limits::default());
        let reason = match cut {
            Err(error) => error.code(),
            Ok(pages) => pages.raster(1, 300).map_or_else(|error| error.code(), |_| "read"),
        };
        // A decoder may give what it has of a picture, but it must not crash.
        assert!(matches!(reason, "document_broken" | "page_broken" | "read"), "{format}: {reason}");
    }
}

#[test]
fn what_is_transparent_is_paper() {
    let picture = RgbaImage::from_fn(40, 60, |_, y| if y < 30 { Rgba([0, 0, 0, 255]) } else { Rgba([0, 0, 0, 0]) });
    let shown = open(&encoded(picture, ImageFormat::Png)).raster(1, 300).unwrap();
    assert!(is_halves(&shown));
}

#[test]
fn a_tiff_of_several_images_has_several_pages() {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    encoder.write_image::<colortype::Gray8>(40, 60, halves().as_raw()).unwrap();
    let red: Vec<u8> = [255, 0, 0].repeat(20 * 10);
    encoder.write_image::<colortype::RGB8>(20, 10, &red).unwrap();
    let deep: Vec<u16> = vec![0xffff; 12];
    encoder.write_image::<colortype::Gray16>(4, 3, &deep).unwrap();
    let pages = open(bytes.get_ref());
    assert_eq!(pages.page_count(), 3);
    assert!(is_halves(&pages.raster(1, 300).unwrap()));
    let second = pages.raster(2, 300).unwrap();
    assert_eq!((second.width, second.height, second.pixels[0]), (20, 10, 76), "red looks dark");
    assert!(pages.raster(3, 300).unwrap().pixels.iter().all(|&pixel| pixel == 255));
    let limits = Limits { max_pages: 2, ..Limits::default() };
    let error = Pages::open(bytes.into_inner(), Format::Tiff, &limits).unwrap_err();
    assert_eq!(error, DocumentError::TooManyPages { pages: 3, max: 2 });
}

#[test]
fn an_image_of_more_pixels_than_allowed_is_refused_before_it_is_unpacked() {
    let bytes = encoded(GrayImage::new(4_000, 4_000), ImageFormat::Png);
    assert!(bytes.len() < 200_000, "a small file: {}", bytes.len());
    let limits = Limits { max_pixels: 1_000_000, ..Limits::default() };
    let pages = Pages::open(bytes, Format::Png, &limits).unwrap();
    let refused = pages.raster(1, 300).unwrap_err();
    assert_eq!(refused, PageError::TooLarge { page: 1, what: "pixels".into(), max: 1_000_000 });
}

#[test]
fn photographs_that_were_held_on_their_side_are_turned() {
    // An EXIF segment that says: turn by 90 degrees.
    let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let jpeg = encoded(halves(), ImageFormat::Jpeg);
    let bytes = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let shown = open(&bytes).raster(1, 300).unwrap();
    assert_eq!((shown.width, shown.height), (60, 40));
    assert!(dark(&shown, |x, _| x > 32) > 97 && dark(&shown, |x, _| x < 28) < 3, "what was above is on the right");
}

/// A page with one picture over all of it.
fn scanned(picture: Stream, rotate: i64) -> Vec<u8> {
    stamped(picture, rotate, "q 200 0 0 300 0 0 cm /Im Do Q")
}

/// A page that draws a picture, and more perhaps.
fn stamped(picture: Stream, rotate: i64, content: &str) -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let picture = document.add_object(picture);
    let content = document.add_object(Stream::new(Dictionary::new(), content.as_bytes().to_vec()));
    let font = document.add_object(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica" });
    let tree = document.new_object_id();
    let page = document.add_object(dictionary! {
        "Type" => "Page", "Parent" => tree, "Contents" => content, "Rotate" => rotate,
        "MediaBox" => vec![0.into(), 0.into(), 200.into(), 300.into()],
        "Resources" => dictionary! { "XObject" => dictionary! { "Im" => picture }, "Font" => dictionary! { "F1" => font } },
    });
    let pages = dictionary! { "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1 };
    document.objects.insert(tree, Object::Dictionary(pages));
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

fn picture(filter: Option<&str>, content: Vec<u8>) -> Stream {
    let mut head = dictionary! {
        "Type" => "XObject", "Subtype" => "Image", "Width" => 40, "Height" => 60,
        "ColorSpace" => "DeviceGray", "BitsPerComponent" => 8,
    };
    if let Some(filter) = filter {
        head.set("Filter", filter);
    }
    Stream::new(head, content)
}

#[test]
fn scanned_pages_are_shown_whatever_packed_them() {
    let raw = halves().into_raw();
    let mut deflated = picture(None, raw.clone());
    deflated.compress().unwrap();
    let pictures = [
        ("nothing", picture(None, raw)),
        ("deflate", deflated),
        ("jpeg", picture(Some("DCTDecode"), encoded(halves(), ImageFormat::Jpeg))),
    ];
    for (how, picture) in pictures {
        let pages = open(&scanned(picture, 0));
        assert!(pages.page(1).unwrap().needs_ocr, "{how}");
        let shown = pages.raster(1, 72).unwrap();
        assert_eq!((shown.width, shown.height, shown.dpi), (200, 300, Some(72)), "{how}");
        assert!(is_halves(&shown), "{how}");
    }
}

#[test]
fn a_scan_with_a_number_on_it_is_told_from_a_page_of_text() {
    let of = |content: &str, side: i64| {
        let mut picture = picture(None, vec![0; 40_000]);
        picture.dict.set("Width", side);
        picture.dict.set("Height", side);
        open(&stamped(picture, 0, content)).page(1).unwrap()
    };
    let typed = |words: &str| format!("BT /F1 8 Tf 10 10 Td ({words}) Tj ET");
    let scan = "q 190 0 0 280 5 5 cm /Im Do Q ";
    let page = of(&format!("{scan}{}", typed("Page 1 of 20")), 200);
    assert!(page.mostly_picture && !page.needs_ocr && page.text == "Page 1 of 20", "{page:?}");
    let strips = "q 200 0 0 150 0 0 cm /Im Do Q q 200 0 0 150 0 150 cm /Im Do Q ";
    assert!(of(&format!("{strips}{}", typed("1")), 200).mostly_picture);
    assert!(!of(&format!("{scan}{}", typed(&"many words ".repeat(20))), 200).mostly_picture, "it has a text layer");
    assert!(!of(&format!("{scan}{}", typed("A title")), 20).mostly_picture, "too coarse to show letters");
    let small = "q 100 0 0 100 50 150 cm /Im Do Q ";
    assert!(!of(&format!("{small}{}", typed("A figure")), 200).mostly_picture);
    let beside = "q 200 0 0 300 150 200 cm /Im Do Q ";
    assert!(!of(&format!("{beside}{}", typed("Cut off")), 200).mostly_picture);
    let page = of(scan, 200);
    assert!(page.needs_ocr && !page.mostly_picture, "nothing but a scan");
}

#[test]
fn a_page_that_says_how_it_is_turned_is_shown_upright() {
    let pages = open(&scanned(picture(None, halves().into_raw()), 90));
    let shown = pages.raster(1, 72).unwrap();
    assert_eq!((shown.width, shown.height), (300, 200));
    assert!(dark(&shown, |x, _| x > 155) > 97 && dark(&shown, |x, _| x < 145) < 3, "what was above is on the right");
}

#[test]
fn a_picture_that_claims_to_be_huge_or_is_cut_off_does_no_harm() {
    let mut huge = picture(None, vec![0; 100]);
    huge.dict.set("Width", 100_000);
    huge.dict.set("Height", 100_000);
    let cut = picture(Some("DCTDecode"), encoded(halves(), ImageFormat::Jpeg)[..200].to_vec());
    let nonsense = picture(Some("JBIG2Decode"), b"nothing of the kind".to_vec());
    for picture in [huge, cut, nonsense] {
        let pages = open(&scanned(picture, 0));
        if let Ok(shown) = pages.raster(1, 72) {
            assert_eq!(shown.pixels.len(), 200 * 300);
        }
    }
}

#[test]
fn a_poster_is_drawn_more_coarsely_than_asked() {
    let mut document = Document::load_mem(&scanned(picture(None, halves().into_raw()), 0)).unwrap();
    let page = document.page_iter().next().unwrap();
    let bounds = vec![0.into(), 0.into(), 14_400.into(), 14_400.into()];
    document.get_dictionary_mut(page).unwrap().set("MediaBox", bounds);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    let limits = Limits { max_pixels: 1_000_000, ..Limits::default() };
    let shown = Pages::open(bytes, Format::Pdf, &limits).unwrap().raster(1, 300).unwrap();
    assert!(shown.pixels.len() <= 1_000_000 && shown.dpi.is_some_and(|dpi| dpi <= 5), "{:?}", shown.dpi);
}
