//! GroupService: not built yet; every call says so.

use crate::status::unimplemented;
use mq_proto::v1;
use mq_proto::v1::group_service_server::GroupService;
use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming};

/// Answers every call with UNIMPLEMENTED.
pub(crate) struct Group;

/// The failure of every call of this service.
fn absent<T>() -> Result<Response<T>, Status> {
    Err(unimplemented("consumption in groups"))
}

#[tonic::async_trait]
impl GroupService for Group {
    type ConsumeStream = Empty<Result<v1::ConsumeResponse, Status>>;

    async fn consume(
        &self,
        _: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        absent()
    }

    async fn group_heartbeat(
        &self,
        _: Request<v1::GroupHeartbeatRequest>,
    ) -> Result<Response<v1::GroupHeartbeatResponse>, Status> {
        absent()
    }

    async fn commit_offsets(
        &self,
        _: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        absent()
    }

    async fn fetch_offsets(
        &self,
        _: Request<v1::FetchOffsetsRequest>,
    ) -> Result<Response<v1::FetchOffsetsResponse>, Status> {
        absent()
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        absent()
    }

    async fn describe_group(
        &self,
        _: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        absent()
    }

    async fn seek_group(
        &self,
        _: Request<v1::SeekGroupRequest>,
    ) -> Result<Response<v1::SeekGroupResponse>, Status> {
        absent()
    }

    async fn list_group_history(
        &self,
        _: Request<v1::ListGroupHistoryRequest>,
    ) -> Result<Response<v1::ListGroupHistoryResponse>, Status> {
        absent()
    }

    async fn remove_member(
        &self,
        _: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        absent()
    }

    async fn delete_group(
        &self,
        _: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        absent()
    }
}
