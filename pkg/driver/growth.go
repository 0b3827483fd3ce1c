package driver

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refusals remembers growths that the node refused, to give the kubelet the
// code with which it does what is best for the pod.
//
// On OUT_OF_RANGE it calls the growth infeasible: it says so at the pod and at
// the claim, and the claim may then ask for less. But a kubelet that is mounting
// the volume does not go on to start the pod; it publishes again, and tries to
// grow again, without end. On FAILED_PRECONDITION it starts the pod, says
// nothing, does not try again while the pod runs, and the claim cannot ask for
// less meanwhile. So a refusal is OUT_OF_RANGE, but FAILED_PRECONDITION when the
// volume was published again since the last one. (Kubernetes 1.34, node_expander.go
// and operation_generator.go.)
type refusals struct {
	mu sync.Mutex
	// of holds the volumes with a refusal; true if published since.
	of map[string]bool
}

// published notes that a volume was published, for the first time or again.
func (r *refusals) published(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, refused := r.of[id]; refused {
		r.of[id] = true
	}
}

// forget ends what is remembered of a volume: it has grown, or is in use no
// longer.
func (r *refusals) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, id)
}

// code is what to answer instead of an error that says that a growth does not
// fit; others stay as they are.
func (r *refusals) code(id string, err error) error {
	if c := status.Code(err); c != codes.ResourceExhausted && c != codes.OutOfRange {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[id] {
		delete(r.of, id)
		return status.Error(codes.FailedPrecondition, status.Convert(err).Message())
	}
	if r.of == nil {
		r.of = map[string]bool{}
	}
	r.of[id] = false
	return status.Error(codes.OutOfRange, status.Convert(err).Message())
}
