// Package wire is how the daemon is asked other than through CSI: JSON over HTTP on
// a unix socket that only root can open. It has both ends, and knows nothing of what
// is asked.
package wire

// failure is the body of every answer that is not 200.
type failure struct {
	Error string `json:"error"`
}

// bodyLimit bounds a request, in bytes.
const bodyLimit = 64 << 10
