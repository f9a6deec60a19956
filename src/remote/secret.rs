//! Credentials in a config: readable by the code that sends them, never by anything that prints.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::component::Problem;

/// A password, key or token. `Debug` shows that it is there, nothing else.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

// === impl Secret ===

impl Secret {
    /// The credential itself, for the request that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with it as the value of `key`, without a word of it. What stands around a key that
    /// was pasted or read from a file is no part of it, and a server would only say that it is wrong.
    pub(crate) fn check(&self, key: &str) -> Option<Problem> {
        let flaw = match self.0.as_str() {
            "" => "it is empty",
            text if text.contains(['\n', '\r']) => "it has several lines",
            text if text.starts_with('\u{feff}') => "it begins with a byte order mark",
            text if text.trim() != text => "it begins or ends with a space",
            text if text.contains(char::is_control) => "it holds a control character",
            _ => return None,
        };
        let hint = "look at the variable or file it comes from; line breaks at the end of a file are left out";
        Some(Problem::new(key, flaw).hint(hint))
    }
}

impl Secret {
    /// The same of a token or key that stands in a header behind the word for its scheme, which is often pasted
    /// along with it.
    pub(crate) fn check_token(&self, key: &str) -> Option<Problem> {
        const SCHEMES: [&str; 4] = ["Splunk", "Bearer", "ApiKey", "Basic"];
        let pasted = self.0.split_once(' ').and_then(|(word, _)| {
            SCHEMES.into_iter().find(|scheme| scheme.eq_ignore_ascii_case(word))
        });
        match (self.check(key), pasted) {
            (None, Some(scheme)) => {
                let flaw = "it begins with the scheme of the header that it goes into";
                Some(Problem::new(key, flaw).hint(format!("leave `{scheme} ` out: it is added")))
            }
            (problem, _) => problem,
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(empty)" } else { "(secret)" })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = String::json_schema(generator);
        schema.insert("format".to_owned(), "password".into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?}"), "(secret)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn what_no_server_would_take_is_refused_without_a_word_of_it() {
        for flawed in
            ["", " hunter2", "hunter2\t", "hunter2\nhunter2", "\u{feff}hunter2", "hun\u{7}ter2"]
        {
            let problem = Secret::from(flawed).check("auth.password").expect(flawed);
            assert_eq!(problem.key, "auth.password");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
        for pasted in ["Splunk hunter2", "bearer hunter2", "ApiKey hunter2", "Basic hunter2"] {
            let problem = Secret::from(pasted).check_token("token").expect(pasted);
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
            assert!(problem.hint.unwrap().contains("is added"), "{pasted}");
        }
        for good in ["hunter2", "Splunk", "basics hunter2"] {
            assert_eq!(Secret::from(good).check_token("token"), None, "{good}");
        }
        assert!(Secret::from("Splunk hunter2\n").check_token("token").is_some());
        for good in ["hunter2", "hunter 2", "pässwort", "id:key=="] {
            assert_eq!(Secret::from(good).check("token"), None, "{good}");
        }
    }
}
