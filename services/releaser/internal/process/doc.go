// Package process is the target for a machine without a container engine: it
// unpacks the image's file system and runs its entrypoint as a supervised
// process.
//
// The program runs inside its unpacked folder, but nothing confines it there: it
// is for code that is trusted as much as the releaser is. Absolute paths mean
// the machine's own files; TAGSHIP_ROOT tells the program where its image is.
//
// Processes do not outlive the releaser. On Linux the kernel sees to that even
// where the releaser is killed; what is left nevertheless is recognised by its
// process id and start time when the next one begins, and stopped.
package process
