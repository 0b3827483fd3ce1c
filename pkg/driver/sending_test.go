package driver

import (
	"context"
	"errors"
	"iter"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/host/extents"
)

// ranges yields n of them, and an error after that.
func ranges(n int, err error) iter.Seq2[extents.Range, error] {
	return func(yield func(extents.Range, error) bool) {
		for i := range n {
			if !yield(extents.Range{Offset: 10 * int64(i), Length: 5}, nil) {
				return
			}
		}
		if err != nil {
			yield(extents.Range{}, err)
		}
	}
}

func TestMessagesHaveAtMostSoMany(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		n, most int
		err     error
		sizes   []int
	}{
		{0, 3, nil, []int{0}}, // the capacity is told
		{2, 3, nil, []int{2}},
		{3, 3, nil, []int{3}},
		{7, 3, nil, []int{3, 3, 1}},
		{7, 3, broken, []int{3, 3, 1}},
		{3, 1, nil, []int{1, 1, 1}},
	} {
		var got []*csi.BlockMetadata
		var sizes []int
		s := sending{most: c.most, linger: time.Hour, patience: time.Minute, send: func(blocks []*csi.BlockMetadata) error {
			got, sizes = append(got, blocks...), append(sizes, len(blocks))
			return nil
		}}
		if err := s.all(t.Context(), ranges(c.n, c.err)); !errors.Is(err, c.err) || !slices.Equal(sizes, c.sizes) {
			t.Errorf("%+v: %v %v", c, err, sizes)
		}
		for i, b := range got {
			if b.GetByteOffset() != 10*int64(i) || b.GetSizeBytes() != 5 {
				t.Errorf("%+v: %d is %v", c, i, b)
			}
		}
	}
}

// What is found is sent although nothing more is found for long.
func TestAFewAreNotKeptBack(t *testing.T) {
	first := make(chan int, 1)
	s := sending{most: 100, linger: 10 * time.Millisecond, patience: time.Minute, send: func(blocks []*csi.BlockMetadata) error {
		first <- len(blocks)
		return nil
	}}
	err := s.all(t.Context(), func(yield func(extents.Range, error) bool) {
		yield(extents.Range{Length: 1}, nil)
		select {
		case n := <-first:
			if n != 1 {
				t.Errorf("%d blocks", n)
			}
		case <-time.After(10 * time.Second):
			t.Error("nothing was sent")
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheEndOfSending(t *testing.T) {
	gone := errors.New("gone")
	s := sending{most: 1, linger: time.Hour, patience: time.Minute, send: func([]*csi.BlockMetadata) error { return gone }}
	if err := s.all(t.Context(), ranges(1000, nil)); !errors.Is(err, gone) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	s.send = func([]*csi.BlockMetadata) error {
		cancel(gone)
		return nil
	}
	if err := s.all(ctx, ranges(1000, nil)); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// endless sends without end, and tells how that ended.
type endless struct {
	csi.UnimplementedSnapshotMetadataServer
	ended chan error
	left  chan struct{} // a send that was under way has returned
}

func (e *endless) GetMetadataAllocated(_ *csi.GetMetadataAllocatedRequest, stream csi.SnapshotMetadata_GetMetadataAllocatedServer) error {
	s := sending{most: 100, linger: time.Hour, patience: 200 * time.Millisecond, send: func(blocks []*csi.BlockMetadata) error {
		err := stream.Send(&csi.GetMetadataAllocatedResponse{BlockMetadata: blocks})
		if err != nil {
			close(e.left)
		}
		return err
	}}
	err := s.all(stream.Context(), ranges(1<<40, nil))
	e.ended <- err
	return err
}

// A client that is there and does not read is not waited for, and learns so when it reads.
func TestAClientThatDoesNotRead(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e := &endless{ended: make(chan error, 1), left: make(chan struct{})}
	server := grpc.NewServer()
	csi.RegisterSnapshotMetadataServer(server, e)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := csi.NewSnapshotMetadataClient(conn).GetMetadataAllocated(t.Context(), &csi.GetMetadataAllocatedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // it reads for a while
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-e.ended:
		if status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the call goes on")
	}
	select {
	case <-e.left:
	case <-time.After(30 * time.Second):
		t.Fatal("the send is left behind for ever")
	}
	next := int64(3 * 100 * 10)
	for err = nil; err == nil; {
		var m *csi.GetMetadataAllocatedResponse
		if m, err = stream.Recv(); err == nil {
			if at := m.GetBlockMetadata()[0].GetByteOffset(); at != next {
				t.Fatalf("at %d, want %d", at, next)
			}
			next += 10 * int64(len(m.GetBlockMetadata()))
		}
	}
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "continue") {
		t.Error(err)
	}
}
