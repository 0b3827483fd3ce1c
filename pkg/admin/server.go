package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"k8s.io/klog/v2"

	"github.com/hostvol/hostvol/pkg/volume"
)

// bodyLimit bounds a request, in bytes.
const bodyLimit = 64 << 10

// NewServer serves the API for the service. The caller listens on a socket of
// mode 0600; that is all the protection there is.
func NewServer(ctx context.Context, volumes *volume.Service) *http.Server {
	s := server{volumes}
	mux := http.NewServeMux()
	handle(mux, "GET /v1/pools", s.pools)
	handle(mux, "GET /v1/volumes", s.list)
	handle(mux, "GET /v1/snapshots", s.snapshots)
	handle(mux, "GET /v1/trash", s.trash)
	handle(mux, "POST /v1/trash/{name}/restore", s.restore)
	handle(mux, "POST /v1/trash/{name}/purge", s.purge)
	handle(mux, "POST /v1/trash/purge", s.purge)
	handle(mux, "POST /v1/adopt", s.adopt)
	handle(mux, "POST /v1/volumes/{name}/release", s.release)
	handle(mux, "GET /v1/check", s.check)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}

type server struct {
	volumes *volume.Service
}

// handle serves one method: what it returns is the answer, as JSON.
func handle[T any](mux *http.ServeMux, pattern string, method func(*http.Request) (T, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		answer, err := method(r)
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		if err != nil {
			klog.FromContext(r.Context()).V(2).Info("Admin call refused", "call", pattern, "err", err)
			w.WriteHeader(statusOf(err))
			_ = out.Encode(failure{Error: err.Error()})
			return
		}
		klog.FromContext(r.Context()).V(4).Info("Admin call succeeded", "call", pattern)
		_ = out.Encode(answer)
	})
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, volume.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, volume.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, volume.ErrExists), errors.Is(err, volume.ErrInUse), errors.Is(err, volume.ErrState), errors.Is(err, volume.ErrBusy):
		return http.StatusConflict
	case errors.Is(err, volume.ErrExhausted), errors.Is(err, volume.ErrOutOfRange):
		return http.StatusInsufficientStorage
	case errors.Is(err, volume.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (s server) pools(*http.Request) ([]Pool, error) {
	out := []Pool{}
	for _, p := range s.volumes.Pools() {
		out = append(out, Pool{
			Name: p.Name, Path: p.Path, UUID: p.UUID, Filesystem: p.Filesystem, Open: p.Open,
			Enforcement: p.Enforcement.Method, NotEnforced: p.Enforcement.Reason, Problem: p.Problem,
			TotalBytes: p.Space.Total, FreeBytes: p.Space.Free, LimitBytes: p.Space.Limit,
			ReservedBytes: p.Space.Reserved, TrashBytes: p.Space.Trash, Available: p.Space.Available,
			Volumes: p.Volumes, Snapshots: p.Snapshots, TrashEntries: p.Trash, Quarantined: p.Quarantined,
		})
	}
	return out, nil
}

func (s server) list(r *http.Request) ([]Volume, error) {
	all := s.volumes.All()
	out := make([]Volume, 0, len(all))
	for _, v := range all {
		a := answer(v)
		a.Targets = s.volumes.Publications(v.ID)
		a.UsedBytes = s.volumes.Used(r.Context(), v.Handle)
		out = append(out, a)
	}
	return out, nil
}

func answer(v volume.Volume) Volume {
	from := ""
	if v.Content != (volume.Content{}) {
		from = v.Content.String()
	}
	return Volume{
		ID: v.ID, Handle: v.Handle, Pool: v.Pool, Engine: v.Engine, Kind: v.Kind(), Bytes: v.Bytes, Enforced: v.Enforced,
		Created: v.Created, Origin: v.Origin, From: from, Pod: v.Pod, UsedBytes: -1,
	}
}

func (s server) snapshots(*http.Request) ([]Snapshot, error) {
	all, _, err := s.volumes.ListSnapshots(volume.SnapshotFilter{}, "", 0)
	if err != nil {
		return nil, err
	}
	out := make([]Snapshot, 0, len(all))
	for _, one := range all {
		out = append(out, Snapshot{
			ID: one.ID, Handle: one.Handle, Pool: one.Pool, Source: one.Source, SourceID: one.SourceID,
			Bytes: one.Bytes, HeldBytes: one.Held, Created: one.Created, Until: one.Until,
			Consistency: one.Consistency, Method: one.Method, Group: one.Group,
		})
	}
	return out, nil
}

func (s server) trash(*http.Request) ([]TrashEntry, error) {
	out := []TrashEntry{}
	for _, e := range s.volumes.Trash() {
		out = append(out, TrashEntry(e))
	}
	return out, nil
}

func (s server) restore(r *http.Request) (Restored, error) {
	back, err := s.volumes.Restore(r.Context(), r.PathValue("name"))
	return Restored(back), err
}

func (s server) purge(r *http.Request) (Purged, error) {
	n, err := s.volumes.Purge(r.Context(), r.PathValue("name"))
	return Purged{Entries: n}, err
}

func (s server) adopt(r *http.Request) (Volume, error) {
	var a Adoption
	in := json.NewDecoder(http.MaxBytesReader(nil, r.Body, bodyLimit))
	in.DisallowUnknownFields()
	if err := in.Decode(&a); err != nil {
		return Volume{}, errors.Join(volume.ErrInvalid, err)
	}
	v, err := s.volumes.Adopt(r.Context(), volume.AdoptRequest(a))
	return answer(v), err
}

func (s server) release(r *http.Request) (Released, error) {
	origin, err := s.volumes.Release(r.Context(), r.PathValue("name"))
	return Released{Origin: origin}, err
}

func (s server) check(r *http.Request) ([]Fault, error) {
	return s.volumes.Check(r.Context())
}
