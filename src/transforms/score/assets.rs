//! The names of hosts inside, from a file: `ADDRESS,NAME` a line.

use std::{collections::HashMap, fs, net::IpAddr};

use super::{Alerts, Host};
use crate::component::Error;

/// Hosts that are remembered at most.
const MAX_HOSTS: usize = 1_000_000;

/// The names, where alerts are to have them. A line that starts with `#` is a remark; the first line may
/// be a heading.
///
/// # Errors
/// The file can't be read, or a line has no address.
pub(super) fn read(alerts: &Alerts) -> Result<Option<HashMap<IpAddr, Box<str>>>, Error> {
    let Some(path) = alerts.assets.as_ref().filter(|_| alerts.host == Host::Asset) else {
        return Ok(None);
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Error::configuration(format!("the assets {} can't be read", path.display())).because(error)
    })?;
    let mut names = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || names.len() >= MAX_HOSTS {
            continue;
        }
        let parsed = line.split_once(',').and_then(|(address, name)| {
            let name = name.split(',').next().unwrap_or_default().trim();
            Some((address.trim().parse::<IpAddr>().ok()?, name)).filter(|_| !name.is_empty())
        });
        match parsed {
            Some((address, name)) => drop(names.insert(address, name.into())),
            None if number == 1 => {}
            None => {
                let message = format!("{}:{number}: no ADDRESS,NAME", path.display());
                return Err(Error::configuration(message));
            }
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Option<HashMap<IpAddr, Box<str>>>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let alerts =
            Alerts { host: Host::Asset, assets: Some(file.path().to_owned()), ..Alerts::default() };
        read(&alerts)
    }

    #[test]
    fn hosts_have_names_and_a_bad_line_is_named() {
        let names = read_text("address,name\n# a remark\n10.0.0.1, web-1 ,rack 7\n").unwrap();
        let names = names.unwrap();
        assert_eq!(names.len(), 1);
        assert_eq!(&*names[&"10.0.0.1".parse::<IpAddr>().unwrap()], "web-1");
        let error = read_text("10.0.0.1,a\nten,b\n").unwrap_err().to_string();
        assert!(error.ends_with(":2: no ADDRESS,NAME"), "{error}");
        assert!(read_text("").unwrap().unwrap().is_empty());
    }
}
