//! Where in a JSON text a value stands, by the way to it. Only for texts that are known to be JSON.

/// One step on the way from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Line and column, counted from 1 in characters, of the value at the end of the way; of the last value
/// on the way that exists if the way leads nowhere.
pub(super) fn locate(text: &str, way: &[Step]) -> (usize, usize) {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    scan.space();
    let mut found = scan.at;
    for step in way {
        let entered = match step {
            Step::Key(name) => scan.enter_key(name),
            Step::Index(index) => scan.enter_index(*index),
        };
        if !entered {
            break;
        }
        found = scan.at;
    }
    let before = text.get(..found).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    (before.matches('\n').count() + 1, column + 1)
}

struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Past one value, whatever it is: brackets are counted, not remembered, so that depth costs nothing.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        loop {
            self.space();
            match self.peek() {
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                0 => return,
                _ => {
                    while !matches!(
                        self.peek(),
                        0 | b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'
                    ) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.at += 1;
        loop {
            match self.peek() {
                b'\\' => self.at += 2,
                b'"' | 0 => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }

    /// To the value of this key. The last counts if it is written twice, as it does for the parser.
    fn enter_key(&mut self, name: &str) -> bool {
        let start = self.at;
        let mut found = None;
        if self.peek() == b'{' {
            self.at += 1;
            loop {
                self.space();
                if self.peek() != b'"' {
                    break;
                }
                let from = self.at;
                self.string();
                let key = self.bytes.get(from..self.at).unwrap_or_default();
                let same = serde_json::from_slice::<String>(key).is_ok_and(|key| key == name);
                self.space();
                self.at += 1;
                self.space();
                if same {
                    found = Some(self.at);
                }
                self.skip();
                self.space();
                if self.peek() != b',' {
                    break;
                }
                self.at += 1;
            }
        }
        self.at = found.unwrap_or(start);
        found.is_some()
    }

    fn enter_index(&mut self, index: usize) -> bool {
        if self.peek() != b'[' {
            return false;
        }
        let start = self.at;
        self.at += 1;
        self.space();
        for _ in 0..index {
            self.skip();
            self.space();
            if self.peek() != b',' {
                self.at = start;
                return false;
            }
            self.at += 1;
            self.space();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, locate};

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn a_value_is_found_by_the_way_to_it() {
        let text = "{\n \"a\": [1, {\"b\\\"c\": \"}]\", \"d\":\n  {\"e\": -1e3}}],\n \"f\" : null}";
        assert_eq!(locate(text, &[]), (1, 1));
        assert_eq!(locate(text, &[key("a"), Step::Index(0)]), (2, 8));
        assert_eq!(locate(text, &[key("a"), Step::Index(1), key("b\"c")]), (2, 20));
        assert_eq!(locate(text, &[key("a"), Step::Index(1), key("d"), key("e")]), (3, 9));
        assert_eq!(locate(text, &[key("f")]), (4, 8));
    }

    #[test]
    fn a_way_that_leads_nowhere_ends_where_it_ends() {
        let text = "{\"a\": [1], \"b\": {}}";
        assert_eq!(locate(text, &[key("a"), Step::Index(3)]), (1, 7));
        assert_eq!(locate(text, &[key("b"), key("c")]), (1, 17));
        assert_eq!(locate(text, &[key("nothing")]), (1, 1));
    }
}
