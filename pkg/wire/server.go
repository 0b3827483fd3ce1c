package wire

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"k8s.io/klog/v2"
)

// Mux is the methods of a server.
type Mux struct {
	mux http.ServeMux
	// StatusOf makes an HTTP status of an error.
	StatusOf func(error) int
}

// Handle serves one method, whose pattern is that of http.ServeMux: what it returns
// is the answer, as JSON.
func Handle[T any](m *Mux, pattern string, method func(*http.Request) (T, error)) {
	m.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		answer, err := method(r)
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		if err != nil {
			klog.FromContext(r.Context()).V(2).Info("Call refused", "call", pattern, "err", err)
			w.WriteHeader(m.StatusOf(err))
			_ = out.Encode(failure{Error: err.Error()})
			return
		}
		klog.FromContext(r.Context()).V(4).Info("Call succeeded", "call", pattern)
		_ = out.Encode(answer)
	})
}

// Body reads what a request asks. A field that does not exist is an error.
func Body[T any](r *http.Request) (T, error) {
	var body T
	in := json.NewDecoder(http.MaxBytesReader(nil, r.Body, bodyLimit))
	in.DisallowUnknownFields()
	return body, in.Decode(&body)
}

// Server serves the methods. The caller listens on a socket of mode 0600; that is
// all the protection there is.
func (m *Mux) Server(ctx context.Context) *http.Server {
	return &http.Server{
		Handler: &m.mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}
