//! Answers that nobody reads: what of one is at hand already is read and thrown away, within a bound, so that its connection may be used
//! again where the return rule allows it. Nothing is waited for: what has not come yet costs the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use http_body::Body;

use super::ResponseBody;

/// Most that is read of an answer in order to keep its connection.
const BYTES_MAX: u64 = 64 * 1024;

impl ResponseBody {
    /// Throws the content away. What is longer than its bound, or not there yet, takes its connection along.
    pub(crate) async fn discard(mut self) {
        if self.size_hint().lower() > BYTES_MAX {
            return;
        }
        poll_fn(|cx| {
            let mut bytes = 0;
            while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut self).poll_frame(cx) {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > BYTES_MAX {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}
