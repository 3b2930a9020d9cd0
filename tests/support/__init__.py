"""What tests of several folders share: real servers, a virtual world, processes, fake networks."""
