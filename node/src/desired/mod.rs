//! From the view of the mesh to what should be: kernel routes, guards, addresses, and the data
//! plane's peers. Pure: the same view and host give the same desired state.

mod kernel;

pub(crate) use kernel::{Connected, Host, KernelDesired, KernelRoute, MESH_METRIC};
