// Package events is the contract between Tagship's services: what may be asked,
// what is stated to have happened, on which subject, and in which bytes.
//
// A message on a two-token subject is a [Request]: it asks. A message on a longer
// subject is a [Fact]: it says what happened and never changes afterwards.
//
//	tag.web                          look at web's repository now
//	tag.seen.web.v1=2E2=2E3          version v1.2.3 of web exists
//	build.done.web.v1=2E2=2E3        … and is built
//	release.prod                     put an app's version into prod
//	release.done.prod.web            … it runs there, healthy
//	cdn.done.beta.agent              … its packages can be downloaded
//
// Beside these there are hints, which nobody believes: a [Hook] on hook.<name>
// says that a webhook named a tag, and makes somebody look.
//
// Every service is a [Handler]: it is given one decoded message and returns the
// facts that follow from it, or an error whose kind says what becomes of the
// message ([Permanent], [Snooze], [Skip]; anything else is retried).
//
// The package imports the standard library only, so that anything may depend on
// it: services, the command line, and programs of others.
package events
