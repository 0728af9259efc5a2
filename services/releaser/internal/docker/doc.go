// Package docker is the target for a single machine with a Docker engine: each
// instance is a container, published on a loopback port of the engine's choice,
// behind the front's stable port.
//
// Containers carry labels that say to which installation of Tagship, environment
// and app they belong, and which release they run. By these a successor of a
// killed releaser finds them, and nothing else is ever touched.
package docker
