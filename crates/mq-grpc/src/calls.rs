//! What every call goes through: a place among the calls that may be open, and room for its answer.
//!
//! Which call it is, is not looked at here.

use crate::connections::Connection;
use crate::outlet::{self, Answers, Outlet};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use mq_broker::Broker;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tower::Service;

/// The calls of a server, before they are told apart.
#[derive(Clone)]
pub(crate) struct Calls<S> {
    inner: S,
    places: Arc<Semaphore>,
    places_max: usize,
    outlet: Arc<Outlet>,
    broker: Broker,
}

impl<S> Calls<S> {
    pub(crate) fn new(inner: S, places_max: usize, outlet: Arc<Outlet>, broker: Broker) -> Calls<S> {
        Calls { inner, places: Arc::new(Semaphore::new(places_max)), places_max, outlet, broker }
    }

    /// One of the connection's own places, or one of those for all.
    fn place(&self, connection: &Connection) -> Option<OwnedSemaphorePermit> {
        let own = Arc::clone(&connection.calls_of_own).try_acquire_owned();
        let place = own.or_else(|_| Arc::clone(&self.places).try_acquire_owned()).ok();
        match place {
            Some(_) => connection.call_taken(),
            None => connection.call_refused(),
        }
        place
    }
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = Arc::clone(Connection::of(&request));
        let Some(place) = self.place(&connection) else {
            let refused = outlet::no_place(&self.broker, self.places_max).into_http();
            return std::future::ready(Ok(refused)).boxed();
        };
        let answers = Answers::new(Arc::clone(&self.outlet), connection);
        request.extensions_mut().insert(answers.clone());
        let answered = self.inner.call(request);
        async move {
            let response = answered.await?;
            Ok(response.map(|body| answers.bind(body, place)))
        }
        .boxed()
    }
}
