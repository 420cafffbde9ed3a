//! Content streams: where each piece of text stands on the page (ISO 32000-1, 9.4).
//!
//! Only what moves or shows text is carried out. Forms drawn by a page are read in their place, to a bounded depth, which
//! also ends a form that draws itself. Everything that a stream can repeat is counted against a [`Budget`].

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::content::{Content, Operation};
use lopdf::{Dictionary, Document, Object, Stream};

use super::font::Font;
use crate::limits::Limits;

/// Operations of one page, forms included. A page dense with drawing has some hundred thousand.
const MAX_OPERATIONS: usize = 4_000_000;
/// Forms within forms.
const MAX_FORM_DEPTH: usize = 8;
/// Forms drawn by one page.
const MAX_FORMS: usize = 2_000;
/// Parts of the font size. What is filled in stands this near to the line of its name.
const FIELD_LINE: f64 = 0.7;
/// Flags of an annotation that is not shown: hidden, not to be viewed (ISO 32000-1, table 165).
const UNSEEN: i64 = 1 << 1 | 1 << 5;
const POINTS_PER_INCH: f64 = 72.0;
/// Dots per inch below which a picture shows no letters: a shade of colour, a texture.
const LEGIBLE_DPI: f64 = 50.0;
/// An operator that means nothing, put at the end of each stream. Of what the parser cannot read it says nothing, and stops:
/// who has not come to this has not read everything.
const END: &str = "EndOfStream";
/// Saved graphics states.
const MAX_SAVED: usize = 256;

/// A piece of text on one baseline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) text: String,
    /// The direction of its baseline, of length 1.
    pub(super) direction: (f64, f64),
    /// Where it starts and ends along the baseline.
    pub(super) start: f64,
    pub(super) end: f64,
    /// How far the baseline is from the origin, growing upwards.
    pub(super) height: f64,
    /// The size of the font as it is seen.
    pub(super) size: f64,
}

/// An annotation that is shown: a field of a form with what was filled in, a note, a stamp.
pub(super) struct Annotation<'a> {
    /// What it looks like: a form.
    look: &'a Stream,
    place: Rectangle,
}

/// What a page shows.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    /// In the order in which they are drawn.
    pub(super) spans: Vec<Span>,
    pub(super) pictures: usize,
    /// The area of the page that pictures cover which are fine enough to show letters, in square points; of pictures that
    /// overlap the sum.
    pub(super) pictured: f64,
    /// Glyphs whose meaning the file does not say.
    pub(super) unmapped: usize,
    /// A stream could not be read to its end.
    pub(super) damaged: bool,
}

/// The page has more of something than a page may have.
#[derive(Debug)]
pub(super) struct Excess {
    pub(super) what: &'static str,
    pub(super) max: usize,
}

impl Span {
    /// True if the other continues the line of this one.
    fn is_before(&self, other: &Self) -> bool {
        let aligned = self.direction.0 * other.direction.0 + self.direction.1 * other.direction.1 > 0.99;
        let large = self.size.max(other.size);
        aligned && (self.height - other.height).abs() < FIELD_LINE * large && self.start <= other.start
    }
}

impl<'a> Annotation<'a> {
    /// The annotations of a page that are shown, in the order in which they are drawn.
    pub(super) fn of_page(document: &'a Document, page: &'a Dictionary) -> Vec<Self> {
        let listed = page.get_deref(b"Annots", document).and_then(Object::as_array);
        let each = listed.into_iter().flatten().take(MAX_FORMS);
        each.filter_map(|object| Self::read(document, document.dereference(object).ok()?.1.as_dict().ok()?)).collect()
    }

    fn read(document: &'a Document, annotation: &'a Dictionary) -> Option<Self> {
        let flags = annotation.get_deref(b"F", document).and_then(Object::as_i64).unwrap_or(0);
        let subtype = annotation.get_deref(b"Subtype", document).and_then(Object::as_name).unwrap_or_default();
        if flags & UNSEEN != 0 || subtype == b"Popup" {
            return None;
        }
        let place = Rectangle::read(document, annotation.get_deref(b"Rect", document).ok()?)?;
        let look = annotation.get_deref(b"AP", document).ok()?.as_dict().ok()?.get_deref(b"N", document).ok()?;
        let look = match look {
            // A box that can be ticked has a look for each of its states.
            Object::Dictionary(states) => {
                let state = annotation.get_deref(b"AS", document).and_then(Object::as_name).ok()?;
                states.get_deref(state, document).ok()?
            }
            look => look,
        };
        Some(Self { look: look.as_stream().ok()?, place })
    }

    /// Puts the box of its look into its place (ISO 32000-1, 12.5.5).
    fn matrix(&self, document: &Document) -> Option<Matrix> {
        let bounds = Rectangle::read(document, self.look.dict.get_deref(b"BBox", document).ok()?)?;
        let own = Matrix::of_form(document, self.look);
        let Rectangle { left, bottom, right, top } = bounds;
        let corners = [(left, bottom), (left, top), (right, bottom), (right, top)];
        let bounds = Rectangle::around(corners.map(|corner| own.of_point(corner)));
        let (width, height) = (bounds.right - bounds.left, bounds.top - bounds.bottom);
        if !(width > 0.0 && height > 0.0) {
            return None;
        }
        let x = (self.place.right - self.place.left) / width;
        let y = (self.place.top - self.place.bottom) / height;
        Some(Matrix([x, 0.0, 0.0, y, self.place.left - bounds.left * x, self.place.bottom - bounds.bottom * y]))
    }
}

/// Carries out the content of a page, and then of its annotations.
pub(super) fn read<'a>(
    document: &'a Document,
    stream: Vec<u8>,
    resources: Option<&'a Dictionary>,
    annotations: &[Annotation<'a>],
    paper: Rectangle,
    limits: &'a Limits,
) -> Result<Drawn, Excess> {
    let budget = Budget { operations: MAX_OPERATIONS, forms: MAX_FORMS, bytes: limits.max_page_bytes, chars: 0 };
    let mut reader = Reader { document, paper, limits, budget, fonts: HashMap::new(), drawn: Drawn::default() };
    reader.run(stream, resources, State::default(), 0)?;
    for annotation in annotations {
        reader.annotation(annotation)?;
    }
    Ok(reader.drawn)
}

/// What is left of what a page may use.
struct Budget {
    operations: usize,
    forms: usize,
    /// Bytes that forms may still unpack to.
    bytes: usize,
    /// Letters taken so far.
    chars: usize,
}

struct Reader<'a> {
    document: &'a Document,
    paper: Rectangle,
    limits: &'a Limits,
    budget: Budget,
    /// Fonts by the address of their dictionary, which the document keeps in its place.
    fonts: HashMap<*const Dictionary, Rc<Font>>,
    drawn: Drawn,
}

/// A matrix in the order of PDF: a, b, c, d, e, f.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Matrix([f64; 6]);

impl Matrix {
    const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// First this, then the other.
    fn then(self, other: Self) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, other.0);
        Self([a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u])
    }

    /// What a form does to its own content.
    fn of_form(document: &Document, form: &Stream) -> Self {
        let matrix = form.dict.get_deref(b"Matrix", document).and_then(Object::as_array);
        let Ok([a, b, c, d, e, f]) = matrix.map(Vec::as_slice) else { return Self::IDENTITY };
        Self([a, b, c, d, e, f].map(|object| number(object).unwrap_or(0.0)))
    }

    fn of_point(self, (x, y): (f64, f64)) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + c * y + e, b * x + d * y + f)
    }

    fn shift(x: f64, y: f64) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y])
    }
}

/// A rectangle whose sides are those of the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    left: f64,
    bottom: f64,
    right: f64,
    top: f64,
}

impl Rectangle {
    pub(super) const A4: Self = Self { left: 0.0, bottom: 0.0, right: 595.0, top: 842.0 };

    /// Reads two opposite corners, whichever they are.
    pub(super) fn read(document: &Document, corners: &Object) -> Option<Self> {
        let [a, b, c, d] = corners.as_array().ok()?.as_slice() else { return None };
        let of = |object: &Object| document.dereference(object).ok().and_then(|(_, object)| number(object));
        Some(Self::around([(of(a)?, of(b)?), (of(c)?, of(d)?)]))
    }

    /// The smallest one that has all the points in it.
    fn around<const N: usize>(points: [(f64, f64); N]) -> Self {
        let (x, y) = (points.map(|(x, _)| x), points.map(|(_, y)| y));
        let least = |values: [f64; N]| values.into_iter().fold(f64::INFINITY, f64::min);
        let most = |values: [f64; N]| values.into_iter().fold(f64::NEG_INFINITY, f64::max);
        Self { left: least(x), bottom: least(y), right: most(x), top: most(y) }
    }

    /// What both cover.
    pub(super) fn within(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.min(other.right),
            top: self.top.min(other.top),
        }
    }

    pub(super) fn area(self) -> f64 {
        (self.right - self.left).max(0.0) * (self.top - self.bottom).max(0.0)
    }
}

#[derive(Clone)]
struct State {
    page: Matrix,
    text: Matrix,
    line: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    letter_spacing: f64,
    word_spacing: f64,
    stretch: f64,
    leading: f64,
    rise: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            page: Matrix::IDENTITY,
            text: Matrix::IDENTITY,
            line: Matrix::IDENTITY,
            font: None,
            size: 0.0,
            letter_spacing: 0.0,
            word_spacing: 0.0,
            stretch: 1.0,
            leading: 0.0,
            rise: 0.0,
        }
    }
}

impl State {
    fn next_line(&mut self, x: f64, y: f64) {
        self.line = Matrix::shift(x, y).then(self.line);
        self.text = self.line;
    }

    fn advance(&mut self, x: f64) {
        self.text = Matrix::shift(x, 0.0).then(self.text);
    }
}

impl<'a> Reader<'a> {
    fn run(
        &mut self,
        mut stream: Vec<u8>,
        resources: Option<&'a Dictionary>,
        mut state: State,
        depth: usize,
    ) -> Result<(), Excess> {
        let mut saved: Vec<State> = Vec::new();
        stream.extend_from_slice(format!("\n{END}\n").as_bytes());
        let mut is_whole = false;
        for operation in Content::<Vec<Operation>>::decode_iter(&stream) {
            let Ok(operation) = operation else {
                is_whole = false;
                break;
            };
            is_whole = operation.operator == END;
            self.budget.operations =
                self.budget.operations.checked_sub(1).ok_or(Excess { what: "operations", max: MAX_OPERATIONS })?;
            match operation.operator.as_str() {
                "q" if saved.len() < MAX_SAVED => saved.push(state.clone()),
                "Q" => state = saved.pop().unwrap_or(state),
                "Do" => self.draw(&operation.operands, resources, &state, depth)?,
                "BI" => self.picture(inline_size(&operation.operands), &state),
                "Tf" => self.choose_font(&operation.operands, resources, &mut state),
                operator => self.text_operation(operator, &operation.operands, &mut state)?,
            }
        }
        self.drawn.damaged |= !is_whole;
        Ok(())
    }

    fn text_operation(&mut self, operator: &str, operands: &[Object], state: &mut State) -> Result<(), Excess> {
        let at = |index: usize| operands.get(index).and_then(number).unwrap_or(0.0);
        match operator {
            "cm" => state.page = Matrix([at(0), at(1), at(2), at(3), at(4), at(5)]).then(state.page),
            "BT" => (state.text, state.line) = (Matrix::IDENTITY, Matrix::IDENTITY),
            "Tm" => {
                state.line = Matrix([at(0), at(1), at(2), at(3), at(4), at(5)]);
                state.text = state.line;
            }
            "Td" => state.next_line(at(0), at(1)),
            "TD" => {
                state.leading = -at(1);
                state.next_line(at(0), at(1));
            }
            "T*" => state.next_line(0.0, -state.leading),
            "Tc" => state.letter_spacing = at(0),
            "Tw" => state.word_spacing = at(0),
            "Tz" => state.stretch = at(0) / 100.0,
            "TL" => state.leading = at(0),
            "Ts" => state.rise = at(0),
            "Tj" => self.show(operands.first(), state)?,
            "'" => {
                state.next_line(0.0, -state.leading);
                self.show(operands.first(), state)?;
            }
            "\"" => {
                (state.word_spacing, state.letter_spacing) = (at(0), at(1));
                state.next_line(0.0, -state.leading);
                self.show(operands.get(2), state)?;
            }
            "TJ" => {
                for part in operands.first().and_then(|operand| operand.as_array().ok()).into_iter().flatten() {
                    match number(part) {
                        Some(kern) => state.advance(-kern / 1_000.0 * state.size * state.stretch),
                        None => self.show(Some(part), state)?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn choose_font(&mut self, operands: &[Object], resources: Option<&'a Dictionary>, state: &mut State) {
        state.size = operands.get(1).and_then(number).unwrap_or(0.0);
        state.font = None;
        let Some(name) = operands.first().and_then(|name| name.as_name().ok()) else { return };
        let Some(dictionary) = self.resource(resources, b"Font", name).and_then(|font| font.as_dict().ok()) else {
            return;
        };
        let (document, max) = (self.document, self.limits.max_page_bytes);
        let read = || Rc::new(Font::read(document, dictionary, max));
        state.font = Some(Rc::clone(self.fonts.entry(std::ptr::from_ref(dictionary)).or_insert_with(read)));
    }

    fn resource(&self, resources: Option<&'a Dictionary>, class: &[u8], name: &[u8]) -> Option<&'a Object> {
        resources?.get_deref(class, self.document).ok()?.as_dict().ok()?.get_deref(name, self.document).ok()
    }

    fn show(&mut self, string: Option<&Object>, state: &mut State) -> Result<(), Excess> {
        let (Some(Object::String(bytes, _)), Some(font)) = (string, state.font.clone()) else { return Ok(()) };
        let seen = Matrix([state.size * state.stretch, 0.0, 0.0, state.size, 0.0, state.rise]);
        let before = seen.then(state.text).then(state.page).0;
        let max = self.limits.max_page_chars;
        let mut text = String::new();
        for glyph in font.glyphs(bytes) {
            match glyph.letters {
                Some(letters) => {
                    // Counted one by one: a single string may have millions of codes, each with many letters.
                    self.budget.chars += letters.chars().count();
                    if self.budget.chars > max {
                        return Err(Excess { what: "letters", max });
                    }
                    text.push_str(&letters);
                }
                None => self.drawn.unmapped += 1,
            }
            let words = if glyph.is_space_code { state.word_spacing } else { 0.0 };
            state.advance((glyph.width * state.size + state.letter_spacing + words) * state.stretch);
        }
        let after = seen.then(state.text).then(state.page).0;
        self.drawn.spans.extend(span(text, before, after));
        Ok(())
    }

    /// Counts a picture of so many pixels, which is drawn into the unit square.
    fn picture(&mut self, (width, height): (f64, f64), state: &State) {
        self.drawn.pictures += 1;
        let [a, b, c, d, e, f] = state.page.0;
        let place = Rectangle::around([(e, f), (e + a, f + b), (e + c, f + d), (e + a + c, f + b + d)]);
        let square_inches = (a * d - b * c).abs() / (POINTS_PER_INCH * POINTS_PER_INCH);
        if width * height >= square_inches * LEGIBLE_DPI * LEGIBLE_DPI {
            self.drawn.pictured += place.within(self.paper).area();
        }
    }

    /// A picture is counted, a form is read in its place.
    fn draw(
        &mut self,
        operands: &[Object],
        resources: Option<&'a Dictionary>,
        state: &State,
        depth: usize,
    ) -> Result<(), Excess> {
        let Some(name) = operands.first().and_then(|name| name.as_name().ok()) else { return Ok(()) };
        let found = self.resource(resources, b"XObject", name).and_then(|object| object.as_stream().ok());
        let Some(stream) = found else { return Ok(()) };
        let subtype = stream.dict.get_deref(b"Subtype", self.document).and_then(Object::as_name);
        if !matches!(subtype, Ok(b"Form")) {
            let side = |key: &[u8]| stream.dict.get_deref(key, self.document).ok().and_then(number).unwrap_or(0.0);
            self.picture((side(b"Width"), side(b"Height")), state);
            return Ok(());
        }
        self.form(stream, resources, state, depth)
    }

    /// Reads an annotation, and puts what it says behind what stands before it on its line: the value behind its name.
    fn annotation(&mut self, annotation: &Annotation<'a>) -> Result<(), Excess> {
        let Some(placed) = annotation.matrix(self.document) else { return Ok(()) };
        let state = State { page: placed, ..State::default() };
        let drawn = self.drawn.spans.len();
        self.form(annotation.look, None, &state, 0)?;
        let mut said = self.drawn.spans.split_off(drawn);
        let Some(first) = said.first() else { return Ok(()) };
        let before = |span: &&(usize, &Span)| span.1.is_before(first);
        let nearest = |a: &(usize, &Span), b: &(usize, &Span)| a.1.start.total_cmp(&b.1.start);
        let spans = self.drawn.spans.iter().enumerate();
        let at = spans.filter(|span| before(&span)).max_by(nearest).map_or(drawn, |(index, _)| index + 1);
        said.extend(self.drawn.spans.split_off(at));
        self.drawn.spans.append(&mut said);
        Ok(())
    }

    fn form(
        &mut self,
        stream: &'a Stream,
        resources: Option<&'a Dictionary>,
        state: &State,
        depth: usize,
    ) -> Result<(), Excess> {
        if depth >= MAX_FORM_DEPTH {
            return Ok(());
        }
        self.budget.forms = self.budget.forms.checked_sub(1).ok_or(Excess { what: "forms", max: MAX_FORMS })?;
        let max = self.limits.max_page_bytes;
        let content = match stream.get_plain_content_with_limit(self.budget.bytes) {
            Ok(content) => content,
            Err(lopdf::Error::Decompress(lopdf::DecompressError::MemoryLimitExceeded { .. })) => {
                return Err(Excess { what: "bytes of content", max });
            }
            Err(_) => {
                self.drawn.damaged = true;
                return Ok(());
            }
        };
        self.budget.bytes = self.budget.bytes.saturating_sub(content.len());
        let mut state = state.clone();
        state.page = Matrix::of_form(self.document, stream).then(state.page);
        let own = stream.dict.get_deref(b"Resources", self.document).and_then(Object::as_dict).ok();
        self.run(content, own.or(resources), state, depth + 1)
    }
}

/// Width and height of a picture that stands in the content itself, where names may be short.
fn inline_size(operands: &[Object]) -> (f64, f64) {
    // The parser does not unpack some of them, and then says nothing about them.
    let Some(Object::Stream(picture)) = operands.first() else { return (f64::INFINITY, 1.0) };
    let side = |long: &[u8], short: &[u8]| picture.dict.get(long).or_else(|_| picture.dict.get(short)).ok();
    let side = |long: &[u8], short: &[u8]| side(long, short).and_then(number).unwrap_or(0.0);
    (side(b"Width", b"W"), side(b"Height", b"H"))
}

fn number(object: &Object) -> Option<f64> {
    match object {
        Object::Integer(_) | Object::Real(_) => object.as_float().ok().map(f64::from).filter(|value| value.is_finite()),
        _ => None,
    }
}

/// The span between two states of the text matrix; `None` if nothing of it can be seen.
fn span(text: String, before: [f64; 6], after: [f64; 6]) -> Option<Span> {
    let length = before[0].hypot(before[1]);
    let size = before[2].hypot(before[3]);
    if text.is_empty() || !(length > 0.0 && size > 0.0 && after.iter().all(|value| value.is_finite())) {
        return None;
    }
    // Text mirrored on its baseline reads as if it were not.
    let (x, y) = (before[0] / length, before[1] / length);
    let along = |point: [f64; 6]| point[4] * x + point[5] * y;
    let height = before[5] * x - before[4] * y;
    Some(Span { text, direction: (x, y), start: along(before), end: along(after), height, size })
}
