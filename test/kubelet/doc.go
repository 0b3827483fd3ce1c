// Package kubelet has the kubelet's own code as the client of hostvol-flex: it finds the installed drivers, calls
// them, and does around them what it does on a node. Nothing of it is a stand-in but the API server.
//
// It is a module of its own, so that Kubernetes is no requirement of hostvol's.
package kubelet
