//! Python's text as names, literals and marks.

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A dotted name, or a number.
    Name(String),
    Text(String),
    Mark(char),
}

/// The tokens; comments and white space are dropped.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match c {
            '#' => at += chars[at..].iter().take_while(|c| **c != '\n').count(),
            '\'' | '"' => {
                let (text, next) = string(&chars, at, false);
                tokens.push(Token::Text(text));
                at = next;
            }
            c if is_word(c) || c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit) => {
                let (word, next) = word(&chars, at);
                match chars.get(next) {
                    // A prefix of a literal: r"", f"", b"".
                    Some('\'' | '"')
                        if word.len() <= 2 && word.chars().all(|c| "rRbBfFuU".contains(c)) =>
                    {
                        let (text, next) = string(&chars, next, word.contains(['r', 'R']));
                        // A formatted literal is not known before it runs.
                        let formatted = word.contains(['f', 'F']) && text.contains('{');
                        tokens.push(if formatted {
                            Token::Name("f-string".into())
                        } else {
                            Token::Text(text)
                        });
                        at = next;
                    }
                    _ => {
                        tokens.push(Token::Name(word));
                        at = next;
                    }
                }
            }
            c if c.is_whitespace() || c == '\\' => at += 1,
            c => {
                tokens.push(Token::Mark(c));
                at += 1;
            }
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A dotted name, or a number with its point and exponent.
fn word(chars: &[char], start: usize) -> (String, usize) {
    let number = !chars[start].is_alphabetic() && chars[start] != '_';
    let mut end = start;
    while let Some(&c) = chars.get(end) {
        let exponent = number
            && matches!(c, '+' | '-')
            && end > start
            && matches!(chars[end - 1], 'e' | 'E')
            && !chars[start..].starts_with(&['0', 'x']);
        if is_word(c) || c == '.' || exponent { end += 1 } else { break }
    }
    (chars[start..end].iter().collect(), end)
}

/// A literal from its quote on; one that never ends goes to the end of its line or text.
fn string(chars: &[char], start: usize, raw: bool) -> (String, usize) {
    let quote = chars[start];
    let triple = chars.get(start + 1) == Some(&quote) && chars.get(start + 2) == Some(&quote);
    let mut at = start + if triple { 3 } else { 1 };
    let mut text = String::new();
    while let Some(&c) = chars.get(at) {
        if c == '\\' && !raw {
            match chars.get(at + 1) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('\n') | None => {}
                Some(other) => text.push(*other),
            }
            at += 2;
        } else if c == quote && !triple {
            return (text, at + 1);
        } else if c == quote
            && chars.get(at + 1) == Some(&quote)
            && chars.get(at + 2) == Some(&quote)
        {
            return (text, at + 3);
        } else if c == '\n' && !triple {
            return (text, at);
        } else {
            text.push(c);
            at += 1;
        }
    }
    (text, chars.len())
}
