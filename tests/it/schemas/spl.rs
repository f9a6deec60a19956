//! As much of Splunk's search and eval language as the checker of the CIM data models uses.

use std::{iter::Peekable, net::IpAddr, vec::IntoIter};

use serde_json::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub(crate) enum Expression {
    Field(String),
    Text(String),
    Number(f64),
    /// In a search: any value at all.
    Any,
    Call(String, Vec<Self>),
    Binary(String, Box<[Self; 2]>),
}

/// What an expression is worth; null is `None`.
type Worth = Option<Value>;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Sign(String),
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    /// In a search, what stands right of `=` is a text without quotes.
    is_search: bool,
}

// === impl Expression ===

impl Expression {
    /// Parses a condition (`transport=tcp OR transport=udp`, `| where match(src, "…")`).
    pub(crate) fn condition(text: &str) -> Result<Self, String> {
        match text.trim().strip_prefix("| where ") {
            Some(eval) => Self::eval(eval),
            None => Self::parse(text, true),
        }
    }

    /// Parses an eval expression (`if(isnum(bytes) and bytes>0,bytes,null())`).
    pub(crate) fn eval(text: &str) -> Result<Self, String> {
        Self::parse(text, false)
    }

    fn parse(text: &str, is_search: bool) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), is_search };
        let expression = parser.either()?;
        match parser.tokens.next() {
            None => Ok(expression),
            Some(token) => Err(format!("{token:?} is left over in {text:?}")),
        }
    }

    /// Whether a condition holds of an event.
    pub(crate) fn holds(&self, event: &Value) -> bool {
        self.worth(event) == Some(Value::Bool(true))
    }

    /// What it is worth for an event.
    pub(crate) fn worth(&self, event: &Value) -> Worth {
        match self {
            Self::Field(name) => event.get(name).filter(|value| !value.is_null()).cloned(),
            Self::Text(text) => Some(text.as_str().into()),
            Self::Number(number) => Some((*number).into()),
            Self::Any => None,
            Self::Call(name, arguments) => call(name, arguments, event),
            Self::Binary(sign, sides) => binary(sign, sides, event),
        }
    }
}

fn call(name: &str, arguments: &[Expression], event: &Value) -> Worth {
    let worth = |at: usize| arguments.get(at).and_then(|argument| argument.worth(event));
    let holds = |at: usize| arguments.get(at).is_some_and(|argument| argument.holds(event));
    match name {
        "null" => None,
        "true" => Some(true.into()),
        "isnum" => Some(worth(0).is_some_and(|value| value.is_number()).into()),
        "isnull" => Some(worth(0).is_none().into()),
        "not" => Some((!holds(0)).into()),
        "if" => worth(if holds(0) { 1 } else { 2 }),
        "case" => {
            (0..arguments.len()).step_by(2).find(|at| holds(*at)).and_then(|at| worth(at + 1))
        }
        "match" => Some(matches(worth(0).as_ref(), worth(1).as_ref()).into()),
        other => panic!("the function {other} is new to the checker"),
    }
}

/// The data models match for two things only: a link-layer address and an IP address.
fn matches(text: Option<&Value>, pattern: Option<&Value>) -> bool {
    let (Some(Value::String(text)), Some(Value::String(pattern))) = (text, pattern) else {
        return false;
    };
    if pattern.contains("{5}") && pattern.contains("[:-]") {
        let parts: Vec<_> = text.split([':', '-']).collect();
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2)
    } else {
        text.parse::<IpAddr>().is_ok()
    }
}

fn binary(sign: &str, [left, right]: &[Expression; 2], event: &Value) -> Worth {
    let truth = |bool: bool| Some(Value::Bool(bool));
    match sign {
        "or" => truth(left.holds(event) || right.holds(event)),
        "and" => truth(left.holds(event) && right.holds(event)),
        "search" => match right {
            Expression::Any => truth(left.worth(event).is_some()),
            right => {
                truth(text(left.worth(event)?).eq_ignore_ascii_case(&text(right.worth(event)?)))
            }
        },
        _ => {
            let (left, right) = (left.worth(event)?, right.worth(event)?);
            let numbers = left.as_f64().zip(right.as_f64());
            match (sign, numbers) {
                ("==", Some((left, right))) => truth((left - right).abs() < f64::EPSILON),
                ("==", None) => truth(left == right),
                (">", Some((left, right))) => truth(left > right),
                ("<", Some((left, right))) => truth(left < right),
                ("+", Some((left, right))) => Some((left + right).into()),
                _ => None,
            }
        }
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

// === impl Parser ===

impl Parser {
    fn either(&mut self) -> Result<Expression, String> {
        let mut left = self.both()?;
        while self.takes_word("or") {
            left = Expression::Binary("or".into(), Box::new([left, self.both()?]));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.takes_word("and") {
            left = Expression::Binary("and".into(), Box::new([left, self.comparison()?]));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.sum()?;
        if self.is_search && self.takes_sign("=") {
            let right = match self.tokens.next() {
                Some(Token::Word(word) | Token::Text(word)) => Expression::Text(word),
                Some(Token::Sign(sign)) if sign == "*" => Expression::Any,
                other => return Err(format!("{other:?} is no value")),
            };
            return Ok(Expression::Binary("search".into(), Box::new([left, right])));
        }
        for sign in ["==", ">", "<"] {
            if self.takes_sign(sign) {
                return Ok(Expression::Binary(sign.into(), Box::new([left, self.sum()?])));
            }
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut left = self.primary()?;
        while self.takes_sign("+") {
            left = Expression::Binary("+".into(), Box::new([left, self.primary()?]));
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<Expression, String> {
        match self.tokens.next() {
            Some(Token::Number(number)) => Ok(Expression::Number(number)),
            Some(Token::Text(text)) => Ok(Expression::Text(text)),
            Some(Token::Sign(sign)) if sign == "!" => {
                Ok(Expression::Call("not".into(), vec![self.primary()?]))
            }
            Some(Token::Sign(sign)) if sign == "(" => {
                let inner = self.either()?;
                self.takes_sign(")").then_some(inner).ok_or_else(|| "a ( is left open".to_owned())
            }
            Some(Token::Word(name)) if self.takes_sign("(") => {
                let mut arguments = Vec::new();
                while !self.takes_sign(")") {
                    arguments.push(self.either()?);
                    self.takes_sign(",");
                }
                Ok(Expression::Call(name, arguments))
            }
            Some(Token::Word(name)) => Ok(Expression::Field(name)),
            other => Err(format!("{other:?} begins no expression")),
        }
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is = |token: &Token| matches!(token, Token::Word(w) if w.eq_ignore_ascii_case(word));
        self.tokens.next_if(is).is_some()
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Sign(s) if s == sign)).is_some()
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ' ' => {}
            '"' => {
                let mut quoted = String::new();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') if chars.peek() == Some(&'"') => quoted.extend(chars.next()),
                        Some(char) => quoted.push(char),
                        None => return Err(format!("a quote is left open in {text:?}")),
                    }
                }
                tokens.push(Token::Text(quoted));
            }
            '=' if chars.next_if_eq(&'=').is_some() => tokens.push(Token::Sign("==".to_owned())),
            '=' | '<' | '>' | '+' | '(' | ')' | ',' | '!' | '*' => {
                tokens.push(Token::Sign(char.to_string()));
            }
            char if char.is_ascii_alphanumeric() || char == '_' => {
                let mut word = char.to_string();
                while let Some(next) =
                    chars.next_if(|char| char.is_ascii_alphanumeric() || *char == '_')
                {
                    word.push(next);
                }
                tokens.push(word.parse().map_or(Token::Word(word), Token::Number));
            }
            other => return Err(format!("{other:?} is new to the checker, in {text:?}")),
        }
    }
    Ok(tokens)
}
