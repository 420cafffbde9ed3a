//! The side of the process that reads.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::confine::Confinement;
use super::wire::{self, Answer, Ask, HEAD};
use crate::pages::Pages;
use crate::raster::Raster;

/// Bytes of a document that are taken: above any sensible limit, which the open document is held to.
const MAX_DOCUMENT: usize = 4 << 30;

/// Reads one document for whoever is at the other end of `input` and `output`, until `input` ends. Gives up rights of the
/// whole process, and of no other: call it in a process that does nothing else.
///
/// # Errors
/// When the other side breaks off in the middle of a message, says what is not understood, or goes away.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let Some((ask, bytes)) = next(&mut input)? else { return Ok(()) };
    let Ask::Open { content_type, file_name, limits, confinement } = ask else {
        return Err(misunderstood("the first message does not open a document".to_owned()));
    };
    let confined = confinement.confine()?;
    confinement.allow_time()?;
    let pages = match Pages::open_as_sent(bytes, content_type.as_deref(), Some(&file_name), &limits) {
        Ok(pages) => pages,
        Err(error) => return say(&mut output, &Answer::Refused { error }, &[]),
    };
    let title = pages.title().map(str::to_owned);
    let (format, page_count, warnings) = (pages.format(), pages.page_count(), pages.warnings().to_vec());
    let opened = Answer::Opened { format, title, page_count, warnings, confined };
    say(&mut output, &opened, &[])?;
    while let Some((ask, _)) = next(&mut input)? {
        answer(&pages, &confinement, ask, &mut output)?;
    }
    Ok(())
}

fn answer(pages: &Pages, confinement: &Confinement, ask: Ask, output: &mut impl Write) -> io::Result<()> {
    confinement.allow_time()?;
    match ask {
        Ask::Open { .. } => Err(misunderstood("a second document".to_owned())),
        Ask::Page { number } => match pages.page(number) {
            Ok(page) => say(output, &Answer::Page { page }, &[]),
            Err(error) => say(output, &Answer::PageRefused { error }, &[]),
        },
        Ask::Raster { number, dpi } => match pages.raster(number, dpi) {
            Ok(Raster { width, height, dpi, pixels }) => say(output, &Answer::Raster { width, height, dpi }, &pixels),
            Err(error) => say(output, &Answer::PageRefused { error }, &[]),
        },
    }
}

fn next(input: &mut impl Read) -> io::Result<Option<(Ask, Vec<u8>)>> {
    let mut head = [0; HEAD];
    // The end of the input is an end only between messages.
    if input.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..])?;
    let (json, more) = wire::lengths(&head, MAX_DOCUMENT).map_err(misunderstood)?;
    let mut message = vec![0; json];
    input.read_exact(&mut message)?;
    let mut bytes = vec![0; more];
    input.read_exact(&mut bytes)?;
    Ok(Some((wire::read(&message).map_err(misunderstood)?, bytes)))
}

fn say(output: &mut impl Write, answer: &Answer, bytes: &[u8]) -> io::Result<()> {
    output.write_all(&wire::head(answer, bytes.len())?)?;
    output.write_all(bytes)?;
    output.flush()
}

fn misunderstood(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What a program does that is nothing but a reading process: [`serve`] over its standard input and output.
///
/// It says nothing of its own: what a panic has to say may be words of the document.
pub fn exit_code() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DocumentError;
    use crate::format::Format;
    use crate::limits::Limits;

    /// Everything is granted: a test must not confine the process that it shares with others.
    fn open(name: &str, bytes: &[u8]) -> Vec<u8> {
        let confinement = Confinement::NONE;
        let ask = Ask::Open { content_type: None, file_name: name.into(), limits: Limits::default(), confinement };
        [wire::head(&ask, bytes.len()).unwrap(), bytes.to_vec()].concat()
    }

    fn answers(mut said: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !said.is_empty() {
            let (json, more) = wire::lengths(said[..HEAD].try_into().unwrap(), 1 << 30).unwrap();
            answers.push(wire::read(&said[HEAD..HEAD + json]).unwrap());
            said = &said[HEAD + json + more..];
        }
        answers
    }

    #[test]
    fn a_document_is_opened_and_its_pages_are_given() {
        let asks = [Ask::Page { number: 2 }, Ask::Page { number: 3 }, Ask::Raster { number: 1, dpi: 72 }];
        let mut input = open("a.txt", b"one\x0ctwo");
        input.extend(asks.iter().flat_map(|ask| wire::head(ask, 0).unwrap()));
        let mut output = Vec::new();
        serve(input.as_slice(), &mut output).unwrap();
        let answers = answers(&output);
        assert!(matches!(&answers[0], Answer::Opened { format: Format::Text, page_count: 2, .. }), "{answers:?}");
        assert!(matches!(&answers[1], Answer::Page { page } if page.text == "two"), "{answers:?}");
        let codes = answers[2..].iter().map(|answer| match answer {
            Answer::PageRefused { error } => error.code(),
            _ => "",
        });
        assert_eq!(codes.collect::<Vec<_>>(), ["page_out_of_range", "page_no_picture"]);
    }

    #[test]
    fn what_was_read_with_a_loss_is_told() {
        let mut output = Vec::new();
        serve(open("a.txt", b"\xef\xbb\xbfbroken \xff here").as_slice(), &mut output).unwrap();
        let answers = answers(&output);
        let Answer::Opened { warnings, .. } = &answers[0] else { panic!("{answers:?}") };
        assert_eq!(warnings[0].code, "undecodable_bytes");
    }

    #[test]
    fn what_cannot_be_read_is_told_and_ends_it() {
        let mut output = Vec::new();
        serve(open("a.pdf", b"words").as_slice(), &mut output).unwrap();
        assert!(matches!(&answers(&output)[..], [Answer::Refused { error: DocumentError::FormatMismatch { .. } }]));
    }

    #[test]
    fn half_a_message_and_nonsense_are_errors() {
        let whole = open("a.txt", b"words");
        assert!(serve(&whole[..whole.len() - 1], Vec::new()).is_err());
        assert!(serve(&b"GET / HTTP/1.1\r\n\r\n"[..], Vec::new()).is_err());
        assert!(serve(wire::head(&Ask::Page { number: 1 }, 0).unwrap().as_slice(), Vec::new()).is_err());
        assert!(serve(&b""[..], Vec::new()).is_ok(), "nobody asked for anything");
    }
}
