//! Keeping credentials out of what is printed: a server, or a proxy's page of errors, may say back what
//! it was sent.

use std::{cmp::Reverse, collections::BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::super::secret::Secret;

/// Replacing anything shorter would garble texts rather than protect them.
const MIN_SECRET_BYTES: usize = 4;

/// What must not be shown, in each form it may come back in, the longest first: one may be a part of
/// another.
#[derive(Debug)]
pub(super) struct Redaction(Vec<Secret>);

// === impl Redaction ===

impl Redaction {
    /// Hides these as they are, and as they stand in JSON.
    pub(super) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let forms = secrets.into_iter().flat_map(|secret| {
            let plain = secret.expose().to_owned();
            let quoted = serde_json::Value::from(plain.as_str()).to_string();
            let bare = quoted.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"'));
            let escaped = bare.unwrap_or_default().to_owned();
            // Some writers of JSON escape the slash too, which base64 has.
            let slashed = escaped.replace('/', r"\/");
            [plain, escaped, slashed]
        });
        let forms = forms.filter(|form| form.len() >= MIN_SECRET_BYTES);
        let forms: BTreeSet<_> = forms.map(|form| (Reverse(form.len()), form)).collect();
        Self(forms.into_iter().map(|(_, form)| Secret::from(form.as_str())).collect())
    }

    /// The text without them.
    pub(super) fn hide(&self, text: String) -> String {
        let hide = |text: String, secret: &Secret| {
            if text.contains(secret.expose()) {
                text.replace(secret.expose(), "(secret)")
            } else {
                text
            }
        };
        self.0.iter().fold(text, hide)
    }
}

/// What is secret in a proxy's address: the whole, the password as it is written and as it is meant,
/// and what `Proxy-Authorization` carries.
pub(super) fn of_proxy(proxy: &Secret) -> Vec<Secret> {
    let mut secrets = vec![proxy.clone()];
    let url = proxy_address(proxy);
    if let Some((url, written)) = url.as_ref().and_then(|url| Some((url, url.password()?))) {
        let [user, password] = [url.username(), written]
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
        secrets.extend([
            Secret::from(written),
            Secret::from(password.as_str()),
            Secret::from(STANDARD.encode(format!("{user}:{password}")).as_str()),
        ]);
    }
    secrets
}

/// A proxy's address, read as the client reads it: `http` is what is meant where no scheme is named.
pub(super) fn proxy_address(proxy: &Secret) -> Option<Url> {
    let named = Url::parse(proxy.expose()).ok().filter(Url::has_host);
    named.or_else(|| Url::parse(&format!("http://{}", proxy.expose())).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_hidden_however_it_comes_back() {
        let proxies =
            ["http://some%20one:hunter%2F2%21@proxy:3128", "some%20one:hunter%2F2%21@proxy:3128"];
        for proxy in proxies {
            let proxy = Secret::from(proxy);
            let redaction = Redaction::new(of_proxy(&proxy));
            let sent = STANDARD.encode("some one:hunter/2!");
            for told in [proxy.expose(), "hunter%2F2%21", "hunter/2!", r"hunter\/2!", &sent] {
                assert_eq!(redaction.hide(format!("<{told}>")), "<(secret)>", "{proxy:?}");
            }
        }
    }

    #[test]
    fn a_secret_is_hidden_as_it_stands_in_json() {
        let redaction = Redaction::new([Secret::from(r#"hun"ter\2/""#)]);
        for told in [r#"hun"ter\2/""#, r#"hun\"ter\\2/\""#, r#"hun\"ter\\2\/\""#] {
            assert_eq!(redaction.hide(format!("<{told}>")), "<(secret)>");
        }
    }

    #[test]
    fn of_a_secret_within_another_nothing_is_left() {
        let redaction = Redaction::new([Secret::from("hunter"), Secret::from("id:hunter2")]);
        assert_eq!(redaction.hide("id:hunter2, hunter".to_owned()), "(secret), (secret)");
    }
}
