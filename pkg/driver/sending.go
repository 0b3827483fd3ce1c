package driver

import (
	"context"
	"iter"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hostvol/hostvol/pkg/host/extents"
)

const (
	// mostBlocks in one message: some 15 KiB.
	mostBlocks = 1024
	// linger is how long a range waits for others to be sent with. Whoever is
	// interrupted continues behind the last range, so that comparing what differs in
	// few places must not keep them back.
	linger = time.Second
	// patience is how long a client may take nothing: snapshots are kept for it.
	patience = time.Minute
)

// sending sends ranges to a client. A client that takes nothing blocks send for
// ever, so that send has a goroutine of its own, which is left behind in that case:
// it ends with the stream, when the call has returned.
type sending struct {
	most             int
	linger, patience time.Duration
	send             func([]*csi.BlockMetadata) error
}

// all returns when everything was sent, or when that has failed. What was found
// before an error of ranges is sent before that.
func (s sending) all(ctx context.Context, ranges iter.Seq2[extents.Range, error]) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	found, sent := make(chan extents.Range, s.most), make(chan struct{})
	go func() {
		defer close(sent)
		if err := s.pack(ctx, found); err != nil {
			cancel(err)
		}
	}()
	err := s.find(ctx, cancel, ranges, found)
	select {
	case <-sent:
	case <-ctx.Done():
	case <-time.After(s.patience):
		cancel(errSlow())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// find passes the ranges on, and tells their error.
func (s sending) find(ctx context.Context, cancel context.CancelCauseFunc, ranges iter.Seq2[extents.Range, error], found chan<- extents.Range) error {
	defer close(found)
	for r, err := range ranges {
		if err != nil {
			return err
		}
		select {
		case found <- r:
			continue
		default:
		}
		timer := time.NewTimer(s.patience)
		select {
		case found <- r:
		case <-ctx.Done():
		case <-timer.C:
			cancel(errSlow())
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

func errSlow() error {
	return status.Error(codes.DeadlineExceeded, "what was sent has not been read for too long, and snapshots are not kept for ever; continue behind the last range")
}

// pack makes messages of the ranges, and one without any if there are none, since
// it tells the capacity.
func (s sending) pack(ctx context.Context, found <-chan extents.Range) error {
	tick := time.NewTicker(s.linger)
	defer tick.Stop()
	var blocks []*csi.BlockMetadata
	for sent, more := false, true; more; {
		due := false
		select {
		case r, ok := <-found:
			if more = ok; ok {
				blocks = append(blocks, &csi.BlockMetadata{ByteOffset: r.Offset, SizeBytes: r.Length})
			}
			due = len(blocks) == s.most || !ok && (len(blocks) > 0 || !sent)
		case <-tick.C:
			due = len(blocks) > 0
		}
		if !due {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.send(blocks); err != nil {
			return err
		}
		blocks, sent = nil, true
	}
	return nil
}
