// Package git watches repositories with the git program, whatever serves them:
// it lists the tags of one, and makes archives of single commits.
//
// Nothing of the machine's own configuration of git has a say, except what
// [Settings] name: the system's and the user's files are not read, nothing asks
// at a terminal, and no protocol runs a program that the address names. Tags'
// names come from strangers; they are only ever passed as full references, and
// never to a shell. Credentials reach git through its environment, and only for
// the host they are meant for.
//
// The same commit gives the same bytes each time: times are the commit's,
// permissions are fixed, and attributes that make an archive depend on anything
// else (export-subst, export-ignore) are off.
package git
