package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/hostvol/hostvol/pkg/volume"
	"github.com/hostvol/hostvol/pkg/wire"
)

// NewServer serves the API for the service.
func NewServer(ctx context.Context, volumes *volume.Service) *http.Server {
	s := server{volumes}
	mux := &wire.Mux{StatusOf: statusOf}
	wire.Handle(mux, "GET /v1/pools", s.pools)
	wire.Handle(mux, "GET /v1/volumes", s.list)
	wire.Handle(mux, "GET /v1/snapshots", s.snapshots)
	wire.Handle(mux, "GET /v1/trash", s.trash)
	wire.Handle(mux, "POST /v1/trash/{name}/restore", s.restore)
	wire.Handle(mux, "POST /v1/trash/{name}/purge", s.purge)
	wire.Handle(mux, "POST /v1/trash/purge", s.purge)
	wire.Handle(mux, "POST /v1/adopt", s.adopt)
	wire.Handle(mux, "POST /v1/volumes/{name}/release", s.release)
	wire.Handle(mux, "DELETE /v1/volumes/{name}", s.remove)
	for kind, snapshot := range map[string]bool{"volumes": false, "snapshots": true} {
		path := " /v1/" + kind + "/{name}/inspection"
		wire.Handle(mux, "POST"+path, func(r *http.Request) (Inspection, error) { return s.inspect(r, snapshot) })
		wire.Handle(mux, "DELETE"+path, func(r *http.Request) (Inspection, error) { return s.endInspection(r, snapshot) })
	}
	wire.Handle(mux, "GET /v1/check", s.check)
	return mux.Server(ctx)
}

type server struct {
	volumes *volume.Service
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
		a.Attached = s.volumes.Attachment(r.Context(), v.Handle)
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
	a, err := wire.Body[Adoption](r)
	if err != nil {
		return Volume{}, errors.Join(volume.ErrInvalid, err)
	}
	v, err := s.volumes.Adopt(r.Context(), volume.AdoptRequest(a))
	return answer(v), err
}

func (s server) release(r *http.Request) (Released, error) {
	origin, err := s.volumes.Release(r.Context(), r.PathValue("name"))
	return Released{Origin: origin}, err
}

func (s server) remove(r *http.Request) (Deleted, error) {
	v, err := s.volumes.Find(r.PathValue("name"))
	if err != nil {
		return Deleted{}, err
	}
	return Deleted{ID: v.ID}, s.volumes.Delete(r.Context(), v.Handle)
}

func (s server) inspect(r *http.Request, snapshot bool) (Inspection, error) {
	path, err := s.volumes.Inspect(r.Context(), volume.Inspection{Name: r.PathValue("name"), Snapshot: snapshot})
	return Inspection{Path: path}, err
}

func (s server) endInspection(r *http.Request, snapshot bool) (Inspection, error) {
	return Inspection{}, s.volumes.EndInspection(r.Context(), volume.Inspection{Name: r.PathValue("name"), Snapshot: snapshot})
}

func (s server) check(r *http.Request) ([]Fault, error) {
	return s.volumes.Check(r.Context())
}
