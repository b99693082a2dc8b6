//! The dashboard: one page that shows what the API says, for people. It is part of the program, loads nothing from elsewhere and can
//! only read.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderName, Method, Response, StatusCode};

use super::{CONTENT_TYPE_OPTIONS, text};

const PAGE: &str = include_str!("dashboard/index.html");
const SCRIPT: &str = include_str!("dashboard/dashboard.js");
const STYLE: &str = include_str!("dashboard/dashboard.css");
/// Nothing of others, nothing written into the page, and in no frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'",
);
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// Answers for `api@internal`, which shows the dashboard too: at `base` it leads on, below `base` it has its folder. `None` for what
/// is none of its business. `prefix` is what a middleware has taken off the path before.
pub(super) fn below(base: &str, method: &Method, path: &str, prefix: &str) -> Option<Response<Bytes>> {
    let rest = path.strip_prefix(base)?;
    let file = rest.strip_prefix("/dashboard/");
    if !rest.is_empty() && rest != "/" && file.is_none() {
        return None;
    }
    if method != Method::GET {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Some(response);
    }
    match file {
        Some(file) => Some(page(file)),
        None => Some(led_on(&format!("{}{base}/dashboard/", prefix.trim_end_matches('/')))),
    }
}

/// Answers for `dashboard@internal`: the folder is taken off the path before.
pub(super) fn answer(path: &str) -> Response<Bytes> {
    page(path.strip_prefix('/').unwrap_or(path))
}

fn led_on(location: &str) -> Response<Bytes> {
    let Ok(value) = HeaderValue::try_from(location) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, value);
    response
}

fn page(file: &str) -> Response<Bytes> {
    let (content, kind) = match file {
        "" | "index.html" => (PAGE, "text/html; charset=utf-8"),
        "dashboard.js" => (SCRIPT, "text/javascript; charset=utf-8"),
        "dashboard.css" => (STYLE, "text/css; charset=utf-8"),
        _ => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    let mut response = Response::new(Bytes::from_static(content.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_are_there_and_writes_no_markup() {
        for (marked, end) in [("href=\"", '"'), ("src=\"", '"')] {
            for named in PAGE.split(marked).skip(1) {
                let file = named.split(end).next().expect("a name");
                assert_eq!(page(file).status(), StatusCode::OK, "{file}");
            }
        }
        assert!(
            !PAGE.contains("<script>") && !PAGE.contains(" style=") && !PAGE.contains(" on"),
            "the policy forbids it"
        );
        for sink in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
        {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
        let served = page("");
        assert_eq!(served.headers()[CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(served.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        for file in ["x.js", "../index.html", "dashboard.js/"] {
            assert_eq!(page(file).status(), StatusCode::NOT_FOUND, "{file}");
        }
    }

    #[test]
    fn the_api_leads_to_its_dashboard_and_has_it_below() {
        let asked = |base: &str, path: &str, prefix: &str| below(base, &Method::GET, path, prefix);
        let to = |base: &str, path: &str, prefix: &str| {
            let answer = asked(base, path, prefix).expect("it is the dashboard's");
            assert_eq!(answer.status(), StatusCode::FOUND);
            answer.headers()[LOCATION].to_str().expect("a path").to_owned()
        };
        assert_eq!(to("", "/", ""), "/dashboard/");
        assert_eq!(to("/base", "/base/", "/before/"), "/before/base/dashboard/");
        assert_eq!(asked("", "/dashboard/", "").map(|answer| answer.status()), Some(StatusCode::OK));
        assert_eq!(
            asked("/b", "/b/dashboard/dashboard.js", "").map(|answer| answer.status()),
            Some(StatusCode::OK)
        );
        for path in ["/api/version", "/dashboards", "/other"] {
            assert!(asked("", path, "").is_none(), "{path}");
        }
        let posted = below("", &Method::POST, "/dashboard/", "").expect("it is the dashboard's");
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer("/").status(), StatusCode::OK);
        assert_eq!(answer("").status(), StatusCode::OK);
    }
}
