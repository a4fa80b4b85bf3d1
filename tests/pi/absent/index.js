throw new Error("this library is carried by pi's bundle and must not be loaded from here");
