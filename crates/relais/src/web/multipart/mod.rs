//! Forms with files (`multipart/form-data`, RFC 7578), parsed as a stream. Everything but file contents has tight
//! limits: a form without a boundary, or with an endless header, is rejected after a few KiB.

mod disposition;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use memchr::memmem::{self, Finder};

use self::disposition::{Disposition, parameters};
use crate::said::{Said, said};

/// Maximum bytes before the first part.
const PREAMBLE_BYTES_MAX: usize = 4 * 1024;
/// Maximum bytes of a part's header.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of parts of a form.
const PARTS_MAX: usize = 64;
/// RFC 2046, section 5.1.1, allows 70; some clients send more.
const BOUNDARY_BYTES_MAX: usize = 200;

/// Why a form is invalid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FormFault {
    NotAForm,
    NoBoundary,
    HeadTooLarge,
    WrongHead,
    TooManyParts,
    FieldsTooLarge(usize),
    Incomplete,
    Lost,
}

impl FormFault {
    /// The text for the client.
    pub(crate) fn said(&self) -> Said {
        match self {
            Self::NotAForm => said!(
                "Content-Type n'est pas multipart/form-data avec un « boundary »",
                "Content-Type is not multipart/form-data with a \"boundary\""
            ),
            Self::NoBoundary => said!(
                "aucune partie dans les {PREAMBLE_BYTES_MAX} premiers octets : le « boundary » annoncé n'y est pas",
                "no part within the first {PREAMBLE_BYTES_MAX} bytes: the announced \"boundary\" is not there"
            ),
            Self::HeadTooLarge => said!(
                "l'en-tête d'une partie dépasse {HEAD_BYTES_MAX} octets",
                "the headers of a part have more than {HEAD_BYTES_MAX} bytes"
            ),
            Self::WrongHead => said!(
                "l'en-tête d'une partie contient un caractère interdit ou n'est pas en UTF-8",
                "the headers of a part contain a forbidden character or are not UTF-8"
            ),
            Self::TooManyParts => said!("plus de {PARTS_MAX} parties", "more than {PARTS_MAX} parts"),
            Self::FieldsTooLarge(max) => said!(
                "les champs autres que le fichier dépassent {max} octets",
                "the fields other than the file have more than {max} bytes"
            ),
            Self::Incomplete => said!("il s'interrompt avant sa fin", "it stops before its end"),
            Self::Lost => said!("il n'est pas arrivé en entier", "it did not arrive as a whole"),
        }
    }
}

/// The header of a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: Option<String>,
    pub(crate) filename: Option<String>,
}

/// A form being received.
pub(crate) struct Form {
    body: Body,
    /// Separates parts: CRLF, two hyphens, the boundary.
    delimiter: Finder<'static>,
    pending: Bytes,
    place: Place,
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Preamble,
    /// Directly after a delimiter.
    Delimiter,
    Content,
    End,
}

impl Form {
    /// The form of a request.
    ///
    /// # Errors
    /// [`FormFault::NotAForm`].
    pub(crate) fn of(request: Request) -> Result<Self, FormFault> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let boundary = kind.and_then(boundary).ok_or(FormFault::NotAForm)?;
        Ok(Self::new(request.into_body(), &boundary))
    }

    fn new(body: Body, boundary: &str) -> Self {
        let delimiter = Finder::new(&["\r\n--", boundary].concat()).into_owned();
        Self { body, delimiter, pending: Bytes::new(), place: Place::Preamble, parts: 0 }
    }

    /// The next part, once the content of the previous one has been read.
    ///
    /// # Errors
    /// [`FormFault`].
    pub(crate) async fn next_part(&mut self) -> Result<Option<Part>, FormFault> {
        debug_assert!(self.place != Place::Content, "the content of a part is read or skipped first");
        if self.place == Place::Preamble {
            self.pass_preamble().await?;
        }
        if self.place == Place::End {
            return Ok(None);
        }
        if self.is_last().await? {
            self.place = Place::End;
            self.pass_epilogue().await?;
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(FormFault::TooManyParts);
        }
        let head = self.head().await?;
        self.place = Place::Content;
        let Disposition { name, filename } = Disposition::of_head(&head).ok_or(FormFault::WrongHead)?;
        Ok(Some(Part { name, filename }))
    }

    /// The next bytes of the part's content; `None` at its end.
    ///
    /// # Errors
    /// [`FormFault`].
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, FormFault> {
        while self.place == Place::Content {
            if let Some(at) = self.delimiter.find(&self.pending) {
                let content = self.pending.split_to(at);
                self.pending.advance(self.delimiter.needle().len());
                self.place = Place::Delimiter;
                if content.is_empty() {
                    break;
                }
                return Ok(Some(content));
            }
            let certain = self.pending.len() - begun(&self.pending, self.delimiter.needle());
            if certain > 0 {
                return Ok(Some(self.pending.split_to(certain)));
            }
            if !self.read_more().await? {
                return Err(FormFault::Incomplete);
            }
        }
        Ok(None)
    }

    /// Discards the part's content, up to `max` bytes; returns how many there were.
    ///
    /// # Errors
    /// [`FormFault`].
    pub(crate) async fn skip(&mut self, max: usize) -> Result<usize, FormFault> {
        let mut skipped = 0;
        while let Some(content) = self.chunk().await? {
            skipped += content.len();
            if skipped > max {
                return Err(FormFault::FieldsTooLarge(max));
            }
        }
        Ok(skipped)
    }

    async fn pass_preamble(&mut self) -> Result<(), FormFault> {
        loop {
            // The first delimiter may lack its line break.
            let first = &self.delimiter.needle()[2..];
            let end = if self.pending.starts_with(first) {
                Some(first.len())
            } else {
                self.delimiter.find(&self.pending).map(|at| at + self.delimiter.needle().len())
            };
            if let Some(end) = end.filter(|end| *end <= PREAMBLE_BYTES_MAX + BOUNDARY_BYTES_MAX) {
                self.pending.advance(end);
                self.place = Place::Delimiter;
                return Ok(());
            }
            if self.pending.len() > PREAMBLE_BYTES_MAX {
                return Err(FormFault::NoBoundary);
            }
            if !self.read_more().await? {
                return Err(FormFault::Incomplete);
            }
        }
    }

    /// Reads what follows the last delimiter (RFC 2046, section 5.1.1), so that the body is complete and the connection
    /// can be reused. Anything longer than a preamble is left unread.
    async fn pass_epilogue(&mut self) -> Result<(), FormFault> {
        let mut passed = 0;
        while passed <= PREAMBLE_BYTES_MAX && self.read_more().await? {
            passed += std::mem::take(&mut self.pending).len();
        }
        Ok(())
    }

    /// Whether the delimiter was the last one: two hyphens follow. Some clients omit them and just end.
    async fn is_last(&mut self) -> Result<bool, FormFault> {
        while self.pending.len() < 2 {
            if !self.read_more().await? {
                return if self.parts > 0 { Ok(true) } else { Err(FormFault::Incomplete) };
            }
        }
        Ok(self.pending.starts_with(b"--"))
    }

    /// The lines between a delimiter and the part's content, each preceded by its line break.
    async fn head(&mut self) -> Result<Bytes, FormFault> {
        loop {
            let blank_line = memmem::find(&self.pending, b"\r\n\r\n");
            if blank_line.unwrap_or(self.pending.len()) > HEAD_BYTES_MAX {
                return Err(FormFault::HeadTooLarge);
            }
            if let Some(at) = blank_line {
                let head = self.pending.split_to(at);
                self.pending.advance(4);
                return Ok(head);
            }
            if !self.read_more().await? {
                return Err(FormFault::Incomplete);
            }
        }
    }

    /// Reads more bytes of the body; `false` at its end.
    async fn read_more(&mut self) -> Result<bool, FormFault> {
        loop {
            if self.pending.is_empty() && self.body.is_end_stream() {
                return Ok(false);
            }
            let Some(frame) = self.body.frame().await else { return Ok(false) };
            let Ok(data) = frame.map_err(|_| FormFault::Lost)?.into_data() else { continue };
            if self.pending.is_empty() {
                self.pending = data;
            } else {
                let mut both = BytesMut::with_capacity(self.pending.len() + data.len());
                both.extend_from_slice(&self.pending);
                both.extend_from_slice(&data);
                self.pending = both.freeze();
            }
            return Ok(true);
        }
    }
}

/// How many bytes at the end of `bytes` may be the start of `delimiter`.
fn begun(bytes: &[u8], delimiter: &[u8]) -> usize {
    let most = bytes.len().min(delimiter.len() - 1);
    (1..=most).rev().find(|count| bytes.ends_with(&delimiter[..*count])).unwrap_or(0)
}

/// The boundary in a `Content-Type`.
fn boundary(kind: &[u8]) -> Option<String> {
    let kind = std::str::from_utf8(kind).ok()?;
    let (essence, rest) = kind.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameters(rest).find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    found.map(|(_, value)| value).filter(|value| (1..=BOUNDARY_BYTES_MAX).contains(&value.len()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    type Fields = Vec<(Option<String>, Option<String>, Vec<u8>)>;

    /// Parses a form that arrives in pieces of `size` bytes.
    async fn read(text: &[u8], size: usize) -> Result<Fields, FormFault> {
        let pieces: Vec<Result<Bytes, Infallible>> =
            text.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut form = Form::new(Body::from_stream(stream::iter(pieces)), "b");
        let mut fields = Fields::new();
        while let Some(part) = form.next_part().await? {
            let mut content = Vec::new();
            while let Some(chunk) = form.chunk().await? {
                content.extend_from_slice(&chunk);
            }
            fields.push((part.name, part.filename, content));
        }
        Ok(fields)
    }

    fn field(name: &str, filename: Option<&str>, content: &str) -> (Option<String>, Option<String>, Vec<u8>) {
        (Some(name.into()), filename.map(Into::into), content.into())
    }

    #[tokio::test]
    async fn a_form_is_the_same_however_it_is_cut() {
        let text = b"hello\r\n--b\t\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n\r\n--b\r\ncontent-disposition:form-data;name=file; filename=\"a.json\"\r\nContent-Type: application/json\r\n\r\n[1,\r\n--2,\r\n--\r\n]\r\n--b--\r\nbye";
        let expected = vec![field("note", None, ""), field("file", Some("a.json"), "[1,\r\n--2,\r\n--\r\n]")];
        for size in 1..=text.len() {
            assert_eq!(read(text, size).await.unwrap(), expected, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_part_may_have_no_head_and_a_form_no_last_hyphens() {
        let text = b"--b\r\n\r\nx\r\n--b";
        assert_eq!(read(text, 3).await.unwrap(), [(None, None, b"x".to_vec())]);
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_form() {
        let text = b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--";
        for end in 0..=text.len() {
            assert_eq!(read(&text[..end], 7).await.unwrap_err(), FormFault::Incomplete, "{end}");
        }
    }

    #[tokio::test]
    async fn what_has_no_end_is_refused_after_some_kib() {
        let none = vec![b'-'; 1 << 20];
        let head = [b"--b\r\nX: ".to_vec(), vec![b'a'; 1 << 20]].concat();
        let padding = [b"--b".to_vec(), vec![b' '; 1 << 20]].concat();
        let parts = b"--b\r\n\r\n\r\n".repeat(PARTS_MAX + 1);
        for size in [1 << 10, 1 << 20] {
            assert_eq!(read(&none, size).await.unwrap_err(), FormFault::NoBoundary);
            assert_eq!(read(&head, size).await.unwrap_err(), FormFault::HeadTooLarge);
            assert_eq!(read(&padding, size).await.unwrap_err(), FormFault::HeadTooLarge);
            assert_eq!(read(&parts, size).await.unwrap_err(), FormFault::TooManyParts);
        }
    }

    #[tokio::test]
    async fn an_endless_preamble_is_not_read_on() {
        let pieces = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024])));
        let mut form = Form::new(Body::from_stream(pieces), "b");
        assert_eq!(form.next_part().await.unwrap_err(), FormFault::NoBoundary);
    }

    #[test]
    fn the_boundary_is_a_parameter_of_the_type() {
        let found = |kind: &str| boundary(kind.as_bytes());
        assert_eq!(found("multipart/form-data; boundary=b").as_deref(), Some("b"));
        assert_eq!(found("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"a;b\"").as_deref(), Some("a;b"));
        for wrong in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"]
        {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
