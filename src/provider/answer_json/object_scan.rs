//! Splits an object or an array into its members without reading their texts and numbers.
//!
//! The grammar of JSON is required, so quotes must be where JSON has them. What is between two quotes, and
//! a value without quotes, may be anything.

use memchr::memchr2_iter;

/// No JSON value may be nested deeper, as in `serde_json`.
const MAX_DEPTH: u32 = 127;

/// The key, with its quotes, and the value of a member of an object.
pub(super) type Member<'a> = (&'a [u8], &'a [u8]);

/// The members of the object that `text` begins with, and what follows the object.
pub(super) fn object_members(text: &[u8]) -> Option<(Vec<Member<'_>>, &[u8])> {
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    let members = scanner.object()?;
    Some((members, &text[scanner.at..]))
}

/// The items of the array that is the whole of `text`.
pub(super) fn array_items(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    let items = scanner.array()?;
    scanner.is_at_end().then_some(items)
}

/// The value that `text` begins with. `None` if quotes or brackets in it are not where JSON has them.
pub(super) fn value_at_start(text: &[u8]) -> Option<&[u8]> {
    Scanner { text, at: 0, depth: 0 }.value()
}

/// Whether brackets outside of strings are nested too deeply.
pub(super) fn is_too_deep(text: &[u8]) -> bool {
    if memchr2_iter(b'{', b'[', text).take(MAX_DEPTH as usize + 1).count() <= MAX_DEPTH as usize {
        return false;
    }
    let (mut depth, mut in_string, mut at) = (0_u32, false, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
        at += 1;
    }
    false
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    fn object(&mut self) -> Option<Vec<Member<'a>>> {
        self.open(b'{')?;
        let mut members = Vec::new();
        if self.take(b'}') {
            return self.close(members);
        }
        loop {
            self.skip_whitespace();
            let key = self.string()?;
            if !self.take(b':') {
                return None;
            }
            members.push((key, self.value()?));
            if self.take(b'}') {
                return self.close(members);
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn array(&mut self) -> Option<Vec<&'a [u8]>> {
        self.open(b'[')?;
        let mut items = Vec::new();
        if self.take(b']') {
            return self.close(items);
        }
        loop {
            items.push(self.value().filter(|item| !item.is_empty())?);
            if self.take(b']') {
                return self.close(items);
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        self.skip_whitespace();
        let start = self.at;
        match self.text.get(start)? {
            b'"' => return self.string(),
            b'{' => drop(self.object()?),
            b'[' => drop(self.array()?),
            _ => {
                let rest = &self.text[start..];
                self.at += rest.iter().position(|byte| ends_bare_value(*byte))?;
            }
        }
        Some(&self.text[start..self.at])
    }

    /// A string with its quotes. A backslash protects the byte after it.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.text.get(start) != Some(&b'"') {
            return None;
        }
        self.at += 1;
        loop {
            match self.text.get(self.at)? {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.text[start..self.at])
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.depth += 1;
        (self.depth <= MAX_DEPTH && self.take(bracket)).then_some(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the callers return its result")]
    fn close<T>(&mut self, members: T) -> Option<T> {
        self.depth -= 1;
        Some(members)
    }

    /// Skips white space and, if `byte` follows, that too.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn skip_whitespace(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_whitespace();
        self.at == self.text.len()
    }
}

/// Whether a value without quotes ends before this byte.
pub(super) fn ends_bare_value(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b",:{}[]\"".contains(&byte)
}
