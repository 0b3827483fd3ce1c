package driver

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// outcome is what came of a call.
type outcome struct {
	resp     any
	err      error
	log      string
	observed []string
}

// intercepted makes one call through the interceptor.
func intercepted(t *testing.T, req any, handler grpc.UnaryHandler) outcome {
	t.Helper()
	var o outcome
	var out strings.Builder
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&out), textlogger.Verbosity(5)))
	observe := func(method, code string, took time.Duration) {
		if took < 0 || took > time.Minute {
			t.Errorf("took %v", took)
		}
		o.observed = append(o.observed, method+" "+code)
	}
	o.resp, o.err = Interceptor(logger, observe)(t.Context(), req, &grpc.UnaryServerInfo{FullMethod: "/csi.v1.Controller/CreateVolume"}, handler)
	o.log = out.String()
	return o
}

func boom(_ context.Context, req any) (any, error) {
	return req.(*csi.DeleteVolumeRequest), nil // which it is not
}

func TestAPanicBecomesInternal(t *testing.T) {
	o := intercepted(t, &csi.CreateVolumeRequest{Name: "vol"}, boom)
	if o.resp != nil || status.Code(o.err) != codes.Internal || !strings.Contains(o.err.Error(), "CreateVolume") {
		t.Errorf("%v %v", o.resp, o.err)
	}
	if strings.Contains(o.err.Error(), "conversion") {
		t.Errorf("the inside is told to the outside: %v", o.err)
	}
	for _, word := range []string{"interface conversion", "boom", "interceptor_test.go"} {
		if !strings.Contains(o.log, word) {
			t.Errorf("the log lacks %q: %s", word, o.log)
		}
	}
	if len(o.observed) != 1 || o.observed[0] != "CreateVolume Internal" {
		t.Errorf("observed %v", o.observed)
	}
}

func TestWhatIsLoggedOfACall(t *testing.T) {
	request := &csi.NodePublishVolumeRequest{
		VolumeId: "vol-1", TargetPath: "/secret-place", Secrets: map[string]string{"password": "hunter2"},
		VolumeContext: map[string]string{"attribute": "private"},
	}
	for _, c := range []struct {
		name     string
		err      error
		severity string
		words    []string
	}{
		{"success", nil, "I", []string{"CreateVolume"}},
		{"the caller's fault", status.Error(codes.InvalidArgument, "mode"), "I", []string{"vol-1", "InvalidArgument", "mode"}},
		{"an administrator's matter", status.Error(codes.Internal, "disk"), "E", []string{"vol-1", "Internal", "disk"}},
		{"the same", status.Error(codes.Unavailable, "pool"), "E", []string{"vol-1", "pool"}},
	} {
		answer := &csi.NodePublishVolumeResponse{}
		o := intercepted(t, request, func(context.Context, any) (any, error) { return answer, c.err })
		if status.Code(o.err) != status.Code(c.err) || (o.resp == nil) != (c.err != nil) {
			t.Errorf("%s: %v %v", c.name, o.resp, o.err)
		}
		if len(o.observed) != 1 || o.observed[0] != "CreateVolume "+status.Code(c.err).String() {
			t.Errorf("%s: observed %v", c.name, o.observed)
		}
		if !strings.HasPrefix(o.log, c.severity) {
			t.Errorf("%s: %s", c.name, o.log)
		}
		for _, word := range c.words {
			if !strings.Contains(o.log, word) {
				t.Errorf("%s: the log lacks %q: %s", c.name, word, o.log)
			}
		}
		for _, word := range []string{"hunter2", "password", "private", "/secret-place"} {
			if strings.Contains(o.log, word) {
				t.Errorf("%s: the log has %q: %s", c.name, word, o.log)
			}
		}
	}
}

func TestTheHandlerGetsTheLogger(t *testing.T) {
	o := intercepted(t, nil, func(ctx context.Context, _ any) (any, error) {
		klog.FromContext(ctx).Info("from the handler")
		return nil, nil
	})
	if !strings.Contains(o.log, "from the handler") {
		t.Errorf("%s", o.log)
	}
}

// received is a stream on which one request came.
type received struct {
	grpc.ServerStream
	request *csi.GetMetadataDeltaRequest
}

func (r received) Context() context.Context { return context.Background() }

func (r received) RecvMsg(m any) error {
	proto.Merge(m.(proto.Message), r.request)
	return nil
}

// Streams are treated as other calls are.
func TestStreamsAreIntercepted(t *testing.T) {
	request := &csi.GetMetadataDeltaRequest{BaseSnapshotId: "old-1", TargetSnapshotId: "new-1", Secrets: map[string]string{"password": "hunter2"}}
	for _, c := range []struct {
		name     string
		end      func() error
		code     codes.Code
		severity string
		words    []string
	}{
		{"success", func() error { return nil }, codes.OK, "I", nil},
		{"refused", func() error { return status.Error(codes.InvalidArgument, "which") }, codes.InvalidArgument, "I", []string{"old-1", "new-1", "which"}},
		{"failed", func() error { return status.Error(codes.Internal, "disk") }, codes.Internal, "E", []string{"old-1", "new-1", "disk"}},
		{"panicked", func() error { panic("kaboom") }, codes.Internal, "E", []string{"kaboom", "interceptor_test.go", "new-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			var observed []string
			logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&out), textlogger.Verbosity(5)))
			observe := func(method, code string, _ time.Duration) { observed = append(observed, method+" "+code) }
			err := StreamInterceptor(logger, observe)(nil, received{request: request}, &grpc.StreamServerInfo{FullMethod: "/csi.v1.SnapshotMetadata/GetMetadataDelta"},
				func(_ any, stream grpc.ServerStream) error {
					klog.FromContext(stream.Context()).V(4).Info("from the handler")
					if err := stream.RecvMsg(&csi.GetMetadataDeltaRequest{}); err != nil {
						return err
					}
					return c.end()
				})
			if status.Code(err) != c.code || len(observed) != 1 || observed[0] != "GetMetadataDelta "+c.code.String() {
				t.Errorf("%v, observed %v", err, observed)
			}
			if err != nil && strings.Contains(err.Error(), "kaboom") {
				t.Errorf("the inside is told to the outside: %v", err)
			}
			text, log, _ := strings.Cut(out.String(), "\n")
			if !strings.Contains(text, "from the handler") || !strings.HasPrefix(log, c.severity) || strings.Contains(log, "hunter2") {
				t.Errorf("%s\n%s", text, log)
			}
			for _, word := range c.words {
				if !strings.Contains(log, word) {
					t.Errorf("the log lacks %q: %s", word, log)
				}
			}
		})
	}
}
